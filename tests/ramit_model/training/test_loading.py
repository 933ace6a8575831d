"""Weights of any container for the networks of trainings and tests: whole, or said how much of them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, fill, run_basicsr, testing_options
from safetensors.torch import save_file

from ramit_arch import RAMiT
from ramit_model.system.errors import InputError
from ramit_model.training import loading
from ramit_model.training.loading import load_weights


def tiny(**changes: Any) -> RAMiT:
    return RAMiT(**{key: value for key, value in {**TINY, **changes}.items() if key != "type"})


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Warnings of `load_weights`."""
    lines: list[str] = []
    logger = logging.getLogger("loading")
    monkeypatch.setattr(logger, "warning", lines.append)
    monkeypatch.setattr(loading, "get_root_logger", lambda: logger)
    return lines


WRAPPINGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bare": lambda plain: plain,
    "compiled": lambda plain: {"params": {f"_orig_mod.{name}": value for name, value in plain.items()}},
    "state_dict": lambda plain: {"state_dict": plain},
    "of a training": lambda plain: {"model_state_dict": plain, "optimizer_state_dict": {}, "epoch": 3},
    "in parallel": lambda plain: {"params": {f"module.{name}": value for name, value in plain.items()}},
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("wrapping", [*WRAPPINGS, "safetensors"])
def test_containers(wrapping: str, strict: bool, tmp_path: Path, said: list[str]) -> None:
    plain = fill(tiny()).state_dict()
    path = tmp_path / "w.pth"
    if wrapping == "safetensors":
        save_file({name: value.contiguous().clone() for name, value in plain.items()}, path)
    else:
        torch.save(WRAPPINGS[wrapping](dict(plain)), path)
    load_weights(net := tiny(), path, strict=strict)
    torch.testing.assert_close(net.state_dict(), plain, rtol=0, atol=0)
    assert said == []


def test_a_part_is_said(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "x3.pth"
    torch.save(fill(tiny(scale=3)).state_dict(), path)
    net = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    load_weights(net, path, strict=False)
    changed = [name for name, value in net.state_dict().items() if not torch.equal(value, before[name])]
    assert 0 < len(changed) < len(before)
    [line] = said
    kept = [name for name, value in tiny(scale=3).state_dict().items() if before[name].shape != value.shape]
    total = len(before)
    assert line == (
        f"{path}: {total - len(kept)} of the {total} tensors of this RAMiT loaded; {len(kept)} keep their initial "
        f"values ({kept[0]}, ...); {len(kept)} tensors of the file are not used"
    )


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_that_fits_is_an_error(strict: bool, tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "other.pth"
    torch.save({"a.weight": torch.ones(3), "b.weight": torch.ones(3)}, path)
    with pytest.raises(InputError, match=r"other\.pth: (none of its 2 weights fits|not the weights of) this RAMiT"):
        load_weights(tiny(), path, strict=strict)


def test_other_weights_are_named(assets: Path, said: list[str]) -> None:
    with pytest.raises(InputError, match=r"; the file holds RAMiT-1 SR x2, published as RAMiT-1_X2\.pth$"):
        load_weights(tiny(), assets / "weights/RAMiT-1_X2.pth")


def test_weights_of_unknown_task_are_named(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "w.pth"
    torch.save(tiny(task="CDN", scale=1).state_dict(), path)
    with pytest.raises(InputError, match=r"; the file holds RAMiT CDN x1$"):  # it states that itself
        load_weights(tiny(), path)
    save_file(tiny(task="CDN", scale=1).state_dict(), path)
    with pytest.raises(InputError, match=r"; the file holds RAMiT of task CDN or (LLE or DR|DR or LLE)$"):
        load_weights(tiny(), path)


def test_basicsrs_own_model_reads_them_too(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    plain = dict(fill(tiny()).state_dict())
    torch.save(WRAPPINGS["of a training"](plain), tmp_path / "w.pth")
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html></html>")
    path = write_options(testing_options(pairs, str(tmp_path / "w.pth"), model_type="SRModel"))
    own = run_basicsr("test", "-opt", path, cwd=tmp_path)
    assert own.returncode == 0, own.stderr
    assert "Best" not in own.stderr  # there is but one result
    for strict in ("true", "false"):
        entries = (f"path:pretrain_network_g={tmp_path / 'page.pth'}", f"path:strict_load_g={strict}")
        page = run_basicsr("test", "-opt", path, "--force_yml", *entries, cwd=tmp_path)
        assert page.returncode == 2
        assert "page.pth: is a web page" in page.stderr
