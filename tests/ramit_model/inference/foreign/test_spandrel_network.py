"""Networks that spandrel loads: found out from the file alone, the same results, one line for what cannot be loaded."""

import pickle
import sys
import warnings
from collections.abc import Callable
from copy import deepcopy
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

package = pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'ramit-basicsr[spandrel]'")

from foreign import save_small, small_networks
from helpers import run_basicsr, testing_options, training_options

from ramit_model.config.options import load_options
from ramit_model.inference.foreign import spandrel_network as module
from ramit_model.inference.foreign.network import random_image
from ramit_model.inference.foreign.spandrel_network import spandrel
from ramit_model.system.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def refused(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        spandrel(str(path))
    return str(caught.value)


@pytest.mark.parametrize("architecture", small_networks())
def test_architectures(tmp_path: Path, architecture: str) -> None:
    network = spandrel(str(save_small(tmp_path / "w.pth", architecture))).eval()
    scale = 1 if architecture == "NAFNet" else 2
    assert network.description.startswith(architecture)
    assert network.description.endswith(f"by spandrel {package.__version__}")
    assert (network.scale, network.in_channels) == (scale, 3)
    assert network.parameters_in_file == sum(p.numel() for p in small_networks()[architecture]().parameters())
    with torch.no_grad():
        assert network(random_image(3, 17, 25)).shape == (1, 3, 17 * scale, 25 * scale)
        # Where nothing is padded, the same as by spandrel's own call, which rounds to 0..1.
        image = random_image(3, 48, 32)
        descriptor = package.ModelLoader().load_from_file(tmp_path / "w.pth")
        torch.testing.assert_close(network(image).clamp(0, 1), descriptor(image), rtol=0, atol=0)


@pytest.mark.parametrize(("architecture", "halves"), [("SwinIR", {"bfloat16"}), ("SPAN", {"float16", "bfloat16"})])
def test_precisions_are_those_that_spandrel_states(tmp_path: Path, architecture: str, halves: set[str]) -> None:
    network = spandrel(str(save_small(tmp_path / "w.pth", architecture)))
    assert network.precisions == {"float32", "tf32", *halves}


def test_an_image_is_padded_as_the_network_needs_it(tmp_path: Path) -> None:
    network = spandrel(str(save_small(tmp_path / "w.pth", "SAFMN"))).eval()
    assert (network.size_unit, network.padding(17, 24)) == (8, (7, 0))
    swinir = spandrel(str(save_small(tmp_path / "w.pth", "SwinIR")))
    assert (swinir.size_unit, swinir.padding(5, 30)) == (1, (11, 0))
    image = random_image(3, 16, 12)
    mirrored = torch.cat([image, image.flip(-1)[..., :4]], dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(mirrored)[..., :24], rtol=0, atol=0)


def test_it_has_gradients_and_can_be_copied(tmp_path: Path) -> None:
    network = deepcopy(spandrel(str(save_small(tmp_path / "w.pth", "RealESRGAN Compact"))))
    network.train()(random_image(3, 8, 8)).mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("form", ["bare", "module", "ema", "safetensors"])
def test_containers(tmp_path: Path, form: str) -> None:
    """Files of strangers come in every wrapping; the moving average is the better network."""
    state = torch.load(save_small(tmp_path / "w.pth", "SPAN"), weights_only=True)["params"]
    worse = {name: torch.zeros_like(value) for name, value in state.items()}
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "other.pth")
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        forms = {
            "bare": state,
            "module": {f"module.{name}": value for name, value in state.items()},
            "ema": {"params": worse, "params_ema": state},
        }
        torch.save(forms[form], path)
    expected, image = spandrel(str(tmp_path / "w.pth")).eval(), random_image(3, 9, 9)
    with torch.no_grad():
        assert torch.equal(spandrel(str(path)).eval()(image), expected(image))
        if form == "ema":
            assert not torch.equal(spandrel(str(path), "params").eval()(image), expected(image))


def test_the_global_registry_is_left_alone(tmp_path: Path) -> None:
    before = package.MAIN_REGISTRY.architectures()
    spandrel(str(save_small(tmp_path / "w.pth", "SPAN")))
    assert package.MAIN_REGISTRY.architectures() == before


class Other(package.Architecture):
    """Architecture of another package: a convolution, enlarged."""

    def __init__(self) -> None:
        super().__init__(id="Other", detect=lambda state: "0.weight" in state and len(state) == 2)

    def load(self, state_dict: dict[str, torch.Tensor]) -> Any:
        network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=2))
        facts = {"purpose": "SR", "tags": [], "supports_half": False, "supports_bfloat16": False, "scale": 2}
        return package.ImageModelDescriptor(
            network, state_dict, architecture=self, input_channels=3, output_channels=3, **facts
        )


def test_further_architectures_where_they_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra: Any = ModuleType("spandrel_extra_arches")
    extra.__spec__ = ModuleSpec("spandrel_extra_arches", None)
    extra.EXTRA_REGISTRY = package.ArchRegistry()
    extra.EXTRA_REGISTRY.add(package.ArchSupport.from_architecture(Other()))
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", extra)
    torch.save(nn.Sequential(nn.Conv2d(3, 3, 1)).state_dict(), tmp_path / "w.pth")
    network = spandrel(str(tmp_path / "w.pth"))
    assert network.description == f"Other by spandrel {package.__version__}"
    assert network(random_image(3, 5, 7)).shape == (1, 3, 10, 14)
    assert network.precisions == {"float32", "tf32"}
    assert "Other" not in package.MAIN_REGISTRY


class Code:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit(7)",)


def test_warnings_for_authors_of_networks_are_not_shown(tmp_path: Path) -> None:
    path = save_small(tmp_path / "w.pth", "SwinIR")
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with pytest.warns(UserWarning, match="meshgrid"):
            package.ModelLoader().load_from_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            spandrel(str(path))
    finally:
        torch.set_warn_always(always)


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path / "no.pth") == f"{tmp_path}/no.pth: no such file; check the path"
    unknown = tmp_path / "unknown.pth"
    torch.save({"a.weight": torch.ones(2)}, unknown)
    assert f"spandrel {package.__version__} knows no network with such weights" in refused(unknown)
    code = tmp_path / "code.pth"
    code.write_bytes(pickle.dumps({"params": Code()}))
    assert str(code) in refused(code)
    broken = tmp_path / "broken.pth"
    state = torch.load(save_small(tmp_path / "w.pth", "SPAN"), weights_only=True)["params"]
    torch.save({name: value for name, value in state.items() if not name.startswith("block_3.")}, broken)
    assert "takes it for SPAN and cannot load it: " in refused(broken)
    fills = SimpleNamespace(name="LaMa", load=lambda _: object())
    support = SimpleNamespace(architecture=fills, detect=lambda _: True)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_registry", lambda _: SimpleNamespace(architectures=lambda order: [support]))
        assert refused(broken).endswith("LaMa fills in masked parts of images; only networks for whole images run")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert refused(broken) == "type spandrel needs the package spandrel: pip install 'ramit-basicsr[spandrel]'"


def test_our_own_networks_are_named(assets: Path) -> None:
    text = refused(assets / "weights/RAMiT-1_X2.pth")
    assert text.endswith("the file holds RAMiT-1 SR x2, published as RAMiT-1_X2.pth")


def test_in_a_test(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    weights = save_small(tmp_path / "w.pth", "SPAN")
    options = testing_options(pairs, None, network_g={"type": "spandrel", "weights": str(weights)})
    done = run_basicsr("test", "-opt", write_options(options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (table,) = (tmp_path / "results").rglob("*.csv")
    assert len(table.read_text().splitlines()) == 11
    options["network_g"]["weights"] = "no.pth"
    done = run_basicsr("test", "-opt", write_options(options), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"basicsr test: {tmp_path}/options.yml: network_g.weights: no.pth: no such file; check the path"
    ]


def test_in_options(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    block = {"type": "spandrel", "weights": str(save_small(tmp_path / "w.pth", "SPAN"))}
    options = training_options(pairs, network_g=block)
    with pytest.raises(InputError, match=r"network_g\.type: spandrel is for tests and benchmarks"):
        load_options(write_options(options), is_train=True)
    options = testing_options(pairs, str(tmp_path / "w.pth"), network_g=block)
    with pytest.raises(InputError, match=r"pretrain_network_g: type spandrel has its file in network_g\.weights"):
        load_options(write_options(options), is_train=False)
    options = testing_options(pairs, None, network_g=block, scale=3)
    with pytest.raises(InputError, match="scale: is 3, but network_g has scale 2"):
        load_options(write_options(options), is_train=False)
