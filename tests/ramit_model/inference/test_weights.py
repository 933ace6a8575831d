"""Reading weights of any origin, and errors that name what does not fit."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from ramit_model.inference.weights import check_fit, read_weights
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
    elif kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    "kind",
    ["cut short", "empty", "text", "code", "code in a torch file", "training state", "list", "missing", "folder"],
)
def test_files_that_are_no_weights(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    broken(kind, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth") as caught:
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
