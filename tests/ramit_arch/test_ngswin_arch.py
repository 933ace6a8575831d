"""NGswin's interface: sizes, dtypes, gradients, settings; its own parts against their definitions."""

import inspect
import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from helpers import fill
from hypothesis import given, settings
from hypothesis import strategies as st

import ramit_arch.ngswin_arch as arch
from ramit_arch import NGswin
from ramit_arch.windows import window_partition, window_reverse
from ramit_model.inference.weights import check_fit, read_weights

TINY = {"scale": 2, "dim": 16, "depths": [2, 1, 2], "num_heads": [3, 2, 1], "decoder_depth": 2, "decoder_heads": 3}
"""3 heads leave a channel of 16 over, as 6 heads leave four of 64."""


def tiny(**changes) -> NGswin:
    torch.manual_seed(0)
    return NGswin(**{**TINY, **changes})


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(1, 70), width=st.integers(1, 70), scale=st.sampled_from([2, 3, 4]))
def test_any_size(batch: int, height: int, width: int, scale: int) -> None:
    net = tiny(scale=scale)
    with torch.no_grad():
        y = net(torch.rand(batch, 3, height, width))
    assert y.shape == (batch, 3, height * scale, width * scale)
    assert y.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 2), (31, 32), (64, 65)])
def test_sizes_of_the_published_network(size: tuple[int, int]) -> None:
    net = fill(NGswin(scale=3)).eval()
    with torch.no_grad():
        y = net(torch.rand(1, 3, *size))
    assert y.shape == (1, 3, 3 * size[0], 3 * size[1])
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


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_parameter_gets_a_gradient(scale: int) -> None:
    torch.manual_seed(0)
    net = NGswin(scale=scale)
    net(torch.rand(1, 3, 40, 33)).abs().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_gradients_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against finite differences, for the input and for a few parameters of each kind of layer."""
    # LeakyReLU has kinks, which finite differences step over: check the network with a smooth activation.
    monkeypatch.setattr("ramit_arch.layers.leaky_relu", torch.nn.functional.softplus)
    net = fill(tiny()).double()
    x = torch.rand(1, 3, 9, 40, dtype=torch.float64, requires_grad=True)
    block = net.encoder_layer1.blocks[1]
    context = block.ngram_window_partition.ngram_context
    chosen = [
        block.attn.logit_scale,
        block.attn.relative_position_bias_table,
        context.ngram_attn.logit_scale,
        context.unigram_embed.bias,
        net.encoder_layer2.across_cascade_proj.bias,
        net.encoder_layer2.downsample.norm.weight,
        net.bottleneck.depthwise.weight,
        net.to_target.before_shuffle.bias,
    ]

    def mean_output(*_: torch.Tensor) -> torch.Tensor:
        return net(x).square().mean()

    assert torch.autograd.gradcheck(mean_output, (x, *chosen), atol=1e-6, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    net, x = tiny(), torch.rand(2, 3, 33, 40)
    with torch.no_grad():
        exact = tiny().double()(x.double())
        y = net.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert (y.double() - exact).abs().max() < tolerance


def test_autocast() -> None:
    net, x = tiny(), torch.rand(1, 3, 40, 33)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
    y.float().mean().backward()
    assert (y.float() - net(x)).abs().max() < 0.05
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_training_and_evaluation_agree() -> None:
    net, x = fill(tiny()).double(), torch.rand(1, 3, 40, 33, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(net.train()(x), net.eval()(x))


def test_channels_last() -> None:
    net, x = fill(tiny()).double(), torch.rand(2, 3, 40, 33, dtype=torch.float64)
    with torch.no_grad():
        expected = net(x)
        last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected)


def test_published_weights_load(assets: Path) -> None:
    path = assets / "weights" / "NGswin_x2.pth"
    net, weights = NGswin(scale=2), read_weights(path)
    check_fit(net, weights, path)
    net.load_state_dict(weights, strict=True)


# Parts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (8, 16), (24, 16)])
def test_shift_mask(size: tuple[int, int]) -> None:
    """Two pixels of a window see each other where the shift has not carried just one of them around the border."""
    m, (height, width) = 8, size
    mask = arch.shift_mask(torch.zeros(1, *size, 1, dtype=torch.float64), m)
    assert mask.shape == (height // m, width // m, 1, m * m, m * m)
    rows, columns = torch.arange(height) >= height - m // 2, torch.arange(width) >= width - m // 2
    region = (2 * rows[:, None] + columns[None, :]).view(1, height, width, 1)
    windows = window_partition(region, m)[0, :, :, :, 0]
    for window, scores in zip(windows.flatten(0, 1), mask.flatten(0, 2), strict=True):
        assert torch.equal(scores, torch.where(window[:, None] == window[None, :], 0.0, -100.0).double())


def test_windows_and_back() -> None:
    x = torch.rand(2, 8, 12, 3)
    windows = window_partition(x, 4)
    assert torch.equal(windows[1, 1, 2].view(4, 4, 3), x[1, 4:8, 8:12])
    assert torch.equal(window_reverse(windows, 4), x)


@pytest.mark.parametrize(("size", "margin"), [(5, 1), (2, 1), (5, 4), (1, 1), (1, 2), (2, 3)])
def test_reflection(size: int, margin: int) -> None:
    x = torch.arange(size)
    there_and_back = [*range(size), *range(size - 2, 0, -1)]
    expected = [there_and_back[i % len(there_and_back)] for i in range(-margin, size + margin)]
    assert arch.reflect(x, margin, 0).tolist() == expected
    if margin < size:  # where torch can do it
        padded = torch.nn.functional.pad(x[None].double(), (margin, margin), mode="reflect")
        assert padded[0].long().tolist() == expected


@pytest.mark.parametrize("ngram", [1, 2, 3])
def test_ngram_context(ngram: int) -> None:
    """One window at a time: forward and backward neighbourhoods, each padded and attended to on its own."""
    net = fill(tiny(ngram=ngram)).double()
    context, m = net.encoder_layer1.blocks[0].ngram_window_partition.ngram_context, 8
    x = torch.rand(1, 4 * m, 5 * m, 16, dtype=torch.float64)
    with torch.no_grad():
        unigrams = context.unigram_embed(x.permute(0, 3, 1, 2))  # (1, D/2, 4, 5)
        expected = []
        for before, after in ((0, ngram - 1), (ngram - 1, 0)):
            padded = torch.nn.functional.pad(unigrams, (before, after, before, after), mode="reflect")
            averages = torch.empty(1, 8, 4, 5, dtype=torch.float64)
            for row in range(4):
                for column in range(5):
                    tokens = padded[0, :, row : row + ngram, column : column + ngram].flatten(1).T
                    averages[0, :, row, column] = context.ngram_attn(tokens[None, None, None]).mean(dim=3)[0, 0, 0]
            expected.append(averages)
        merged = context.merge(torch.cat(expected, dim=1)).permute(0, 2, 3, 1)
        torch.testing.assert_close(context(x), merged)


def test_window_attention() -> None:
    """Against its definition, one head at a time; 16 channels and 3 heads: the last channel takes no part."""
    torch.manual_seed(1)
    attention = arch.WindowAttention(16, 3, 2).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    x, mask = torch.randn(1, 1, 1, 4, 16, dtype=torch.float64), torch.randn(1, 1, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        attention.logit_scale[0] = 7.0  # above ln 100: bounded
        q, k, v = (x[0, 0, 0] @ attention.qkv.weight.T + attention.qkv.bias).split(15, dim=1)
        heads = []
        for head in range(3):
            part = slice(5 * head, 5 * head + 5)
            scale = math.exp(min(float(attention.logit_scale[head]), math.log(100.0)))
            scores = torch.nn.functional.cosine_similarity(q[:, None, part], k[None, :, part], dim=-1) * scale
            for p in range(4):
                for r in range(4):
                    row = (p // 2 - r // 2 + 1) * 3 + p % 2 - r % 2 + 1
                    scores[p, r] += attention.relative_position_bias_table[row, head]
            heads.append((scores + mask[0, 0, 0]).softmax(dim=1) @ v[:, part])
        expected = attention.proj(torch.cat(heads, dim=1))
        torch.testing.assert_close(attention(x, mask)[0, 0, 0], expected)


# Settings -----------------------------------------------------------------------------------------------------------


def test_every_setting_is_an_argument() -> None:
    parameters = inspect.signature(NGswin).parameters
    assert set(parameters) == {field.name for field in fields(arch.NGswinSettings)}
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())


def test_what_a_model_reads() -> None:
    net = tiny(scale=3)
    assert (net.scale, net.in_channels, net.size_unit) == (3, 3, 32)
    assert not [key for key in net.state_dict() if "normalisation" in key or "index" in key]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 1}, "scale must be 2, 3 or 4, not 1"),
        ({"scale": 8}, "scale must be 2, 3 or 4, not 8"),
        ({"scale": 2.0}, "scale must be 2, 3 or 4, not 2.0"),
        ({"scale": None}, "scale must be 2, 3 or 4, not None"),
        ({"dim": 60}, "multiple of 16"),
        ({"depths": [2, 2]}, "depths must be 3"),
        ({"depths": [2, 2, 10**7]}, "depths and decoder_depth must be at most 1000"),
        ({"num_heads": [6, 0, 4]}, "num_heads must be 3"),
        ({"decoder_heads": 40}, "decoder_heads must be at most dim / 2"),
        ({"decoder_depth": 0}, "decoder_depth"),
        ({"ngram": 0}, "ngram"),
        ({"window_size": 7}, "window_size"),
        ({"mlp_ratio": 0.0}, "mlp_ratio"),
    ],
)
def test_settings_that_do_not_fit(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NGswin(**{"scale": 2, **arguments})


def test_a_typo_is_not_swallowed() -> None:
    with pytest.raises(TypeError, match="window_sise"):
        NGswin(scale=2, window_sise=8)
