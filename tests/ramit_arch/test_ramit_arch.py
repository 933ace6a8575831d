"""The network's interface: settings, sizes, dtypes, memory formats, gradients, compilation, export."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
import torch
from helpers import TINY, fill
from hypothesis import given, settings
from hypothesis import strategies as st

from ramit_arch import RAMiT, RAMiTSettings, ramit_settings


def tiny(**changes) -> RAMiT:
    torch.manual_seed(0)
    return RAMiT(**{key: value for key, value in {**TINY, **changes}.items() if key != "type"})


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3), height=st.integers(1, 70), width=st.integers(1, 70), scale=st.sampled_from([1, 2, 3, 4])
)
def test_any_size(batch: int, height: int, width: int, scale: int) -> None:
    net = tiny(scale=scale) if scale > 1 else tiny(task="CDN", scale=1)
    with torch.no_grad():
        y = net(torch.rand(batch, 3, height, width))
    assert y.shape == (batch, 3, height * scale, width * scale)
    assert y.isfinite().all()


def test_images_of_a_batch_do_not_influence_each_other() -> None:
    net, x = fill(tiny()).double(), torch.rand(3, 3, 40, 24, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_padding_is_black() -> None:
    """An image with black rows below equals the same image without them, cropped."""
    net, x = fill(tiny()).double(), torch.rand(1, 3, 20, 32, dtype=torch.float64)
    black = torch.cat([x, torch.zeros(1, 3, 12, 32, dtype=torch.float64)], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net(black)[:, :, :40])


@pytest.mark.parametrize("variant", ["RAMiT", "RAMiT-1", "RAMiT-slimSR", "RAMiT-slimLLE"])
@pytest.mark.parametrize("task", ["SR", "GDN", "LLE"])
def test_every_parameter_gets_a_gradient(variant: str, task: str) -> None:
    torch.manual_seed(0)
    net = RAMiT(variant=variant, task=task, scale=2 if task == "SR" else 1, depths=[2, 2, 2, 2])
    net(torch.rand(1, len(net.settings.mean), 40, 33)).abs().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("helper", [True, False])
def test_gradients_are_right(helper: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against finite differences, for the input and for a few parameters of each kind of layer."""
    # LeakyReLU has kinks, which finite differences step over: check the network with a smooth activation.
    for module in ("ramit_arch.mobivari", "ramit_arch.layers"):
        monkeypatch.setattr(f"{module}.leaky_relu", torch.nn.functional.softplus)
    torch.manual_seed(0)
    net = fill(tiny(helper=helper, depths=[2, 1, 1, 1])).double()
    x = torch.rand(1, 3, 9, 7, dtype=torch.float64, requires_grad=True)
    block = net.stage1.blocks["block1"]
    chosen = [block.sp_attn.logit_scale, block.ch_attn.logit_scale, block.norm1.norm.weight, net.to_target.conv.bias]

    def mean_output(*_: torch.Tensor) -> torch.Tensor:
        return net(x).square().mean()

    assert torch.autograd.gradcheck(mean_output, (x, *chosen), atol=1e-6, rtol=1e-4, fast_mode=True)


def test_helper_changes_all_but_the_first_block_of_a_stage() -> None:
    on, off = fill(tiny(depths=[1, 1, 1, 1])), fill(tiny(depths=[1, 1, 1, 1], helper=False))
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(on(x), off(x))
        assert (
            fill(tiny(depths=[1, 1, 1, 2]))(x) - fill(tiny(depths=[1, 1, 1, 2], helper=False))(x)
        ).abs().max() > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    net, x = tiny(), torch.rand(2, 3, 33, 40)
    with torch.no_grad():
        exact = tiny().double()(x.double())
        y = net.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert (y.double() - exact).abs().max() < tolerance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_without_kernels(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU. A black image has queries and keys of hardly any length, and sums over many pixels grow large."""
    monkeypatch.setattr("ramit_arch.kernels.find", lambda *_: None)
    net = tiny().eval()
    for x in (torch.rand(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)):
        with torch.no_grad():
            exact, low = net(x), tiny().to(dtype)(x.to(dtype))
            with torch.autocast("cpu", dtype=dtype):
                mixed = net(x)
        assert low.dtype == dtype
        assert (low.float() - exact).abs().max() < 0.05
        assert (mixed.float() - exact).abs().max() < 0.05


def test_autocast() -> None:
    net, x = tiny(), torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
    y.float().mean().backward()
    assert (y.float() - net(x)).abs().max() < 0.05
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_channels_last() -> None:
    net, x = fill(tiny()).double(), torch.rand(2, 3, 40, 33, dtype=torch.float64)
    with torch.no_grad():
        expected = net(x)
        last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected)


def test_compile_without_graph_breaks() -> None:
    net, x = fill(tiny()).double(), torch.rand(1, 3, 40, 33, dtype=torch.float64)
    # The backend runs what was captured: the capture is ours to get right, code generation is torch's.
    compiled = torch.compile(net, fullgraph=True, backend="eager", dynamic=True)
    with torch.no_grad():
        for size in ((40, 33), (64, 50), (17, 90)):
            x = torch.rand(1, 3, *size, dtype=torch.float64)
            torch.testing.assert_close(compiled(x), net(x))


def test_export() -> None:
    net, x = fill(tiny()).double().eval(), torch.rand(2, 3, 40, 33, dtype=torch.float64)
    exported = torch.export.export(net, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), net(x))


def test_export_to_onnx() -> None:
    """As users call it, without gradients too: the reshape after window attention failed there."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    net, x = fill(tiny()).eval(), torch.rand(2, 3, 40, 33)
    with torch.no_grad():
        content = torch.onnx.export(net, (x,), dynamo=True, verbose=False).model_proto.SerializeToString()
        expected = net(x).numpy()
    (output,) = runtime.InferenceSession(content).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-3)


@pytest.mark.skipif(torch.__version__ < (2, 13), reason="earlier releases export for one size only")
def test_export_with_any_size() -> None:
    net = fill(tiny()).double().eval()
    size = {2: torch.export.Dim("height", min=1, max=4096), 3: torch.export.Dim("width", min=1, max=4096)}
    example = (torch.rand(1, 3, 40, 33, dtype=torch.float64),)
    # Without it, a size of one window would be a program of its own.
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        exported = torch.export.export(net, example, dynamic_shapes=(size,)).module()
    with torch.no_grad():
        for height, width in ((40, 33), (64, 64), (5, 100), (1, 1)):
            x = torch.rand(1, 3, height, width, dtype=torch.float64)
            torch.testing.assert_close(exported(x), net(x))


def test_statistics_are_no_part_of_a_checkpoint() -> None:
    assert not [key for key in tiny().state_dict() if "normalisation" in key]


def test_every_setting_is_an_argument() -> None:
    arguments = set(inspect.signature(RAMiT).parameters) - {"variant", "task"}
    assert arguments == {field.name for field in fields(RAMiTSettings)}


def test_published_settings() -> None:
    assert ramit_settings("RAMiT-slimSR", "SR", 4).depths == (8, 2, 2, 8)
    assert ramit_settings("RAMiT", "GDN").mean == (0.4539,)
    assert not ramit_settings("RAMiT", "DR").helper
    assert ramit_settings("RAMiT", "LLE").helper


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "RAMiT-2"}, "RAMiT-2"),
        ({"task": "JPEG"}, "JPEG"),
        ({"scale": None}, "needs scale"),
        ({"task": "DR", "scale": 2}, "scale must be 1"),
        ({"scale": 2, "dim": 60}, "multiple of 16"),
        ({"scale": 2, "num_heads": [4, 4, 4, 5]}, "not a multiple of num_heads"),
        ({"scale": 2, "chsa_head_ratio": 0.1}, "channel head"),
        ({"scale": 2, "depths": [2, 2]}, "depths"),
        ({"scale": 2, "depths": [1, 1, 1, 10**7]}, "depths must be at most 1000"),
        ({"scale": 2, "window_size": 7}, "window_size"),
        ({"scale": 2, "mobivari_version": 3}, "version"),
        ({"scale": 2, "neck_groups": 5}, "groups"),
        ({"scale": 2, "mean": [0.5]}, "each channel"),
    ],
)
def test_settings_that_do_not_fit(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RAMiT(**arguments)


def test_a_typo_is_not_swallowed() -> None:
    with pytest.raises(TypeError, match="window_sise"):
        RAMiT(scale=2, window_sise=8)
