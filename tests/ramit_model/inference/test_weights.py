"""Reading weights of any origin, and errors that name what does not fit."""

import gzip
import os
import pickle
import sys
import zipfile
from argparse import Namespace
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ramit_model.inference.facts import MARKER
from ramit_model.inference.weights import check_fit, read_weight_file, read_weights
from ramit_model.system.errors import InputError

WEIGHTS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}


@pytest.mark.parametrize("key", [None, "params", "params_ema", "whatever"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"params": w},
        lambda w: {"params_ema": w},
        lambda w: {"params": {f"module.{k}": v for k, v in w.items()}},
    ],
)
def test_bare_and_basicsr_files(tmp_path: Path, wrap, key: str | None) -> None:
    torch.save(wrap(WEIGHTS), tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth", key)
    assert read.keys() == WEIGHTS.keys()
    assert torch.equal(read["weight"], WEIGHTS["weight"])


class AttributeDict(dict[str, Any]):
    """As PyTorch Lightning keeps hyper-parameters."""

    __module__, __qualname__ = "lightning.fabric.utilities.data", "AttributeDict"


OTHER = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}


def prefixed(prefix: str, weights: dict[str, torch.Tensor] = WEIGHTS) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"params": prefixed("_orig_mod.")},
        {"params": prefixed("module._orig_mod.")},
        {"params": prefixed("_orig_mod.module.")},
        {"params": prefixed("_fsdp_wrapped_module._checkpoint_wrapped_module.")},
        {"state_dict": WEIGHTS},
        {"state_dict": WEIGHTS, "epoch": 3, "optimizer_states": [{"state": {0: {"step": torch.ones(1)}}}]},
        {"state_dict": {**prefixed("net_g."), "loss.vgg.weight": torch.zeros(3), "net_d.scale": torch.zeros(1)}},
        {"state_dict": {**prefixed("net_g.", OTHER), **prefixed("net_g_ema.")}},
        {"model_state_dict": WEIGHTS, "optimizer_state_dict": {"state": {}, "param_groups": []}},
        {"model": {"params": prefixed("module.")}},
        {"model": WEIGHTS, "optimizer": {"state": {"a": {"exp_avg": torch.zeros(2)}}}},
        {"anything": WEIGHTS},
        {"generator": WEIGHTS, "discriminator": OTHER},
        {"params": WEIGHTS, "best_psnr": np.float64(33.3), "losses": np.ones(3)},
        {"params": WEIGHTS, "args": Namespace(lr=0.1), "path": Path("x"), "history": defaultdict(list, a=[1])},
        {"params": WEIGHTS, "args": AttributeDict(lr=0.1)},
        {**WEIGHTS, "epoch": 3, "best": 0.5},
        {"module.weight": WEIGHTS["weight"], "module.bias": WEIGHTS["bias"], "n_averaged": torch.tensor(3)},
        {name: tensor.bfloat16() for name, tensor in WEIGHTS.items()},
    ],
)
def test_wrappers_of_other_programs(tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    name = AttributeDict.__module__
    while name:
        module = ModuleType(name)
        module.AttributeDict = AttributeDict  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
        name = name.rpartition(".")[0]
    torch.save(content, tmp_path / "w.pth")
    net = nn.Linear(3, 2)
    weights = read_weights(tmp_path / "w.pth", "params", net.state_dict())
    assert weights.keys() == WEIGHTS.keys()
    net.load_state_dict(weights)
    assert torch.equal(net.weight, WEIGHTS["weight"])


def test_a_network_with_a_part_called_module_keeps_its_names(tmp_path: Path) -> None:
    net = nn.ModuleDict({"module": nn.Linear(3, 2)})
    torch.save({"params": prefixed("module.")}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth", None, net.state_dict()).keys() == net.state_dict().keys()


def test_several_networks_are_not_chosen_from(tmp_path: Path) -> None:
    torch.save({"first": WEIGHTS, "second": OTHER}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: holds weights under 'first', 'second'; save the wanted ones"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "net_g."])
def test_safetensors(tmp_path: Path, prefix: str) -> None:
    header = {"format": "pt", "network_g": '{"type": "RAMiT"}', "task": "DR", "scale": "1", "scale_odd": "{", "n": "1"}
    save_file(prefixed(prefix), tmp_path / "w.bin", metadata=header)
    file = read_weight_file(tmp_path / "w.bin", None, WEIGHTS)
    assert file.weights.keys() == WEIGHTS.keys()
    assert torch.equal(file.weights["weight"], WEIGHTS["weight"])
    assert file.facts == {"network_g": {"type": "RAMiT"}, "task": "DR", "scale": 1}
    assert (file.container, file.wrapping) == ("safetensors", (prefix,) if prefix else ())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(2, 3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    ],
    ids=["claimed", "meta", "sparse", "quantized"],
)
def test_tensors_that_are_not_stored_in_full(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"weight": tensor}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: "):
        read_weights(tmp_path / "w.pth")


def test_a_compressed_file_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(10**6)}, tmp_path / "w.pth")
    packed = zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "w.pth") as stored, packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(InputError, match=r"z\.pth: is an archive; unpack it"):
        read_weights(tmp_path / "z.pth")


def test_the_metadata_of_a_stranger_is_data_only(tmp_path: Path) -> None:
    header = {"network_g": "[" * 100_000, "scale": "{", "metrics": "1e999"}
    save_file(WEIGHTS, tmp_path / "w.safetensors", metadata=header)
    assert "network_g" not in read_weight_file(tmp_path / "w.safetensors").facts
    save_file({**WEIGHTS, MARKER: torch.zeros(3, dtype=torch.uint8)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"w\.safetensors: the tensor ramit\.network_g cannot be read"):
        read_weight_file(tmp_path / "w.safetensors")


def test_the_asked_key_comes_first(tmp_path: Path) -> None:
    other = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    torch.save({"params": WEIGHTS, "params_ema": other}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth", "params")["bias"].sum() == 0
    assert read_weights(tmp_path / "w.pth", "params_ema")["bias"].sum() == 2


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def broken(kind: str, path: Path) -> None:
    torch.save(WEIGHTS, path)
    content = path.read_bytes()
    if kind == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>404 not found</html>")
    elif kind == "code":
        path.write_bytes(pickle.dumps(Malicious()))
    elif kind == "code in a torch file":
        torch.save({"params": WEIGHTS, "extra": Malicious()}, path)
    elif kind == "training state":
        torch.save({"epoch": 1, "iter": 2, "optimizers": []}, path)
    elif kind == "list":
        torch.save([torch.zeros(1)], path)
    elif kind == "git lfs":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 4097481\n")
    elif kind == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("RAMiT_X2.pth", content)
    elif kind == "gzip":
        path.write_bytes(gzip.compress(content))
    elif kind == "program":
        torch.jit.script(nn.Linear(3, 2)).save(str(path))
    elif kind == "header claims too much":
        path.write_bytes((1 << 39).to_bytes(8, "little") + b"{}")
    elif kind == "safetensors cut short":
        save_file(WEIGHTS, path)
        path.write_bytes(path.read_bytes()[:-5])
    elif kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kind", "remark"),
    [
        ("cut short", "broken checkpoint"),
        ("empty", "is empty"),
        ("text", "is a web page, not weights"),
        ("code", "may be code, and will not be opened"),
        ("code in a torch file", "may be code, and will not be opened"),
        ("training state", "holds no network weights"),
        ("list", "holds no network weights"),
        ("git lfs", "is a pointer of Git LFS, not the weights; run git lfs pull"),
        ("archive", "is an archive; unpack it"),
        ("gzip", "is an archive; unpack it"),
        ("program", "is a TorchScript program"),
        ("header claims too much", "broken safetensors file"),
        ("safetensors cut short", "broken safetensors file"),
        ("missing", "no such file"),
        ("folder", "cannot be read"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, kind: str, remark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    broken(kind, tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"w\.pth: .*{remark}") as caught:
        read_weights(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_fit_names_what_differs() -> None:
    net = nn.Linear(3, 2)
    check_fit(net, WEIGHTS, "w.pth")
    wrong = {"weight": torch.zeros(2, 4), "extra": torch.zeros(1)}
    with pytest.raises(InputError) as caught:
        check_fit(net, wrong, "w.pth", remedy="give others")
    for part in (
        "w.pth",
        "1 missing (bias)",
        "1 unknown (extra)",
        "2x4 in the file, 2x3 in the network",
        "; give others",
    ):
        assert part in str(caught.value)


def test_safetensors_of_a_name_that_is_no_text(tmp_path: Path) -> None:
    """The library takes no such path."""
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    path = (tmp_path / "w.safetensors").rename(tmp_path / "\udcd6.safetensors")
    assert torch.equal(read_weight_file(path).weights["weight"], WEIGHTS["weight"])


def test_flipped_bits_in_a_checkpoint_are_found(tmp_path: Path) -> None:
    """PyTorch does not compare the checksums that it writes."""
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    place = content.index(bytes(2000)) + 1000
    content[place] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["weight"].any()
    with pytest.raises(InputError, match=r"w\.pth: broken checkpoint \(the checksum of .*data/0 is wrong\)"):
        read_weights(path)


def test_places_in_tables_are_those_of_the_network() -> None:
    net = nn.Module()
    net.register_buffer("places", torch.tensor([0, 1, 2]))
    check_fit(net, {"places": torch.tensor([0, 1, 2], dtype=torch.int32)}, "w.pth")
    with pytest.raises(InputError, match=r"1 damaged \(places\)"):
        check_fit(net, {"places": torch.tensor([0, 1, 2**40])}, "w.pth")
