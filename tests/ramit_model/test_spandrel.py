"""Networks in spandrel: published files and ours load through its ModelLoader and restore as here; others still do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import fill, run_basicsr, run_python, training_options
from safetensors.torch import load_file, save_file
from torch import nn

from ramit_arch import NGswin, RAMiT
from ramit_model.cli import main
from ramit_model.inference.opened import open_network
from ramit_model.inference.padding import run_padded
from ramit_model.training.checkpoint import save_networks

spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'ramit-basicsr[spandrel]'")

from spandrel import MAIN_REGISTRY, ModelLoader, ModelTiling
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DnCNN import DnCNN
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.PLKSR import PLKSR
from spandrel.architectures.RCAN import RCAN
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SwinIR import SwinIR

from ramit_model.spandrel import install

AT_HAND = ("NGswin_x2.pth", "RAMiT-1_CDN.pth", "RAMiT-1_X2.pth", "RAMiT-slimLLE_LLE.pth", "RAMiT-slimSR_X4.pth")
SMALL = {"dim": 16, "depths": [1, 1, 1, 2], "neck_groups": 1}


@pytest.fixture
def loader() -> ModelLoader:
    """A loader with a registry of its own that knows our networks."""
    registry = MAIN_REGISTRY.copy()
    install(registry)
    return ModelLoader(registry=registry)


def small(**changes: Any) -> RAMiT:
    return fill(RAMiT(**{"task": "SR", "scale": 2, **SMALL, **changes}))


def check(descriptor, path: Path, size: tuple[int, int] = (37, 45)) -> None:
    """Compare what spandrel computes with what `open_network` gives, at an odd size."""
    ours = open_network(path)
    image = torch.rand(1, ours.channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = run_padded(ours.network, image, ours.network.size_unit, ours.scale).clamp(0, 1)
    assert torch.equal(descriptor(image), expected)
    assert (descriptor.scale, descriptor.input_channels) == (ours.scale, ours.channels)
    assert descriptor.output_channels == ours.channels
    assert descriptor.purpose == ("SR" if ours.task == "SR" else "Restoration")
    assert ours.task in descriptor.tags


@pytest.mark.parametrize("name", AT_HAND)
@pytest.mark.parametrize("form", ["published", ".safetensors"])
def test_published_weights(assets: Path, tmp_path: Path, loader: ModelLoader, name: str, form: str) -> None:
    path = assets / "weights" / name
    if form == ".safetensors":
        out = tmp_path / "out.safetensors"
        assert main(["convert", str(path), "-o", str(out), "--half"]) == 0
        path = out
    descriptor = loader.load_from_file(path)
    check(descriptor, path)
    assert descriptor.architecture.name == ("NGswin" if "NGswin" in name else "RAMiT")
    assert descriptor.tiling == (ModelTiling.SUPPORTED if "NGswin" in name else ModelTiling.DISCOURAGED)


def test_published_weights_are_known_by_their_tensors_alone(assets: Path, tmp_path: Path, loader: ModelLoader) -> None:
    weights = torch.load(assets / "weights/RAMiT-1_CDN.pth", map_location="cpu", weights_only=True)
    path = tmp_path / "out.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    assert loader.load_from_file(path).tags == ["RAMiT-1", "CDN"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"task": "GDN", "scale": None}, {"task": "DR", "scale": None}, {"helper": False}, {"mean": [0.1] * 3}],
)
@pytest.mark.parametrize("form", ["training", "state_dict", ".safetensors", ".pth"])
def test_our_own_weights(tmp_path: Path, loader: ModelLoader, changes: dict[str, Any], form: str) -> None:
    net = small(**changes)
    path = tmp_path / "net_g_latest.pth"
    if form == "state_dict":
        torch.save(net.state_dict(), path)
    else:
        save_networks({"params": net, "params_ema": net}, path, {"iteration": 3})
    if form.startswith("."):
        assert main(["convert", str(path), "-o", str(tmp_path / f"out{form}")]) == 0
        path = tmp_path / f"out{form}"
    descriptor = loader.load_from_file(path)
    assert descriptor.model.settings == net.settings
    check(descriptor, path)


def test_a_training(pairs: Path, tmp_path: Path, loader: ModelLoader, write_options) -> None:
    options = training_options(pairs)
    options["train"]["total_iter"] = 2
    done = run_basicsr("train", "-opt", write_options(options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "experiments/tiny/models/net_g_latest.pth"
    check(loader.load_from_file(path), path)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_task_that_is_not_known_is_an_error(tmp_path: Path, loader: ModelLoader, prefix: str) -> None:
    weights = {f"{prefix}{name}": value for name, value in small(task="DR", scale=None).state_dict().items()}
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(spandrel.UnsupportedModelError) as caught:
        loader.load_from_file(tmp_path / "w.pth")
    assert str(caught.value) == (
        "RAMiT of task CDN, DR, LLE has the same shapes; write a file that states its task: basicsr convert FILE "
        "-o NAME.safetensors --task TASK"
    )
    # As it says:
    assert main(["convert", str(tmp_path / "w.pth"), "-o", str(tmp_path / "o.safetensors"), "--task", "DR"]) == 0
    assert loader.load_from_file(tmp_path / "o.safetensors").tags == ["RAMiT", "DR"]


def test_incomplete_weights_are_an_error(loader: ModelLoader) -> None:
    weights = small().state_dict()
    del weights["to_target.conv.bias"]
    with pytest.raises(
        spandrel.UnsupportedModelError,
        match=r"^RAMiT: the file states itself to be RAMiT SR x2, but holds other weights: 1 missing \(to_target\.conv",
    ):
        loader.load_from_state_dict(weights)


def test_the_given_weights_are_left_as_they_are(tmp_path: Path, loader: ModelLoader) -> None:
    torch.save(small(task="LLE", scale=None).state_dict(), tmp_path / "w.pth")
    assert main(["convert", str(tmp_path / "w.pth"), "-o", str(tmp_path / "o.safetensors")]) == 0
    weights = load_file(tmp_path / "o.safetensors")
    names = set(weights)
    for _ in range(2):
        assert loader.load_from_state_dict(weights).tags == ["RAMiT", "LLE"]
        assert set(weights) == names


@pytest.mark.parametrize("network", [small, lambda: fill(NGswin(scale=2, dim=32, depths=[1, 1, 1]))])
@pytest.mark.parametrize(("kind", "close"), [(torch.float16, 1e-2), (torch.bfloat16, 1e-1)])
def test_low_precision(loader: ModelLoader, network, kind: torch.dtype, close: float) -> None:
    weights = network().state_dict()
    image = torch.rand(1, 3, 33, 40, generator=torch.Generator().manual_seed(0))
    expected = loader.load_from_state_dict(weights)(image)
    low = loader.load_from_state_dict(weights).to(kind)(image.to(kind))
    assert low.dtype == kind
    assert (low.float() - expected).abs().mean() < close


OTHERS: dict[str, nn.Module] = {
    "Compact": Compact(num_feat=8, num_conv=2),
    "DnCNN": DnCNN(),
    "ESRGAN": ESRGAN(num_filters=8, num_blocks=1),
    "PLKSR": PLKSR(dim=16, n_blocks=2),
    "RCAN": RCAN(n_resgroups=1, n_resblocks=1, n_feats=16),
    "SAFMN": SAFMN(dim=8, n_blocks=1, ffn_scale=2.0, upscaling_factor=2),
    "SwinIR": SwinIR(img_size=16, window_size=8, embed_dim=12, depths=[2], num_heads=[2]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_are_still_found(loader: ModelLoader, name: str) -> None:
    weights = OTHERS[name].state_dict()
    before = ModelLoader(registry=MAIN_REGISTRY.copy()).load_from_state_dict(dict(weights))
    after = loader.load_from_state_dict(dict(weights))
    assert after.architecture is before.architecture
    assert after.tags == before.tags


@pytest.mark.parametrize("network", [small, lambda: RAMiT(task="LLE", mobivari_version=1, dim=16), NGswin])
def test_no_other_architecture_takes_ours(loader: ModelLoader, network) -> None:
    weights = (network(scale=2) if network is NGswin else network()).state_dict()
    assert [entry.architecture.name for entry in loader.registry if entry.detect(weights)] in (["RAMiT"], ["NGswin"])


def test_the_registry_of_every_loader_by_default() -> None:
    code = (
        "import ramit_model.spandrel as s, spandrel; print(s.install(), s.install(), 'RAMiT' in spandrel.MAIN_REGISTRY)"
    )
    assert run_python(code).strip() == "['RAMiT', 'NGswin'] [] True"


def test_without_spandrel_the_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['spandrel'] = None\n"
        "try:\n    import ramit_model.spandrel\nexcept ImportError as error:\n    print(error)"
    )
    assert run_python(code).strip() == "spandrel is not installed: pip install 'ramit-basicsr[spandrel]'"
