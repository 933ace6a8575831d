"""Checkpoints are written whole or not at all."""

from pathlib import Path

import pytest
import torch

from ramit_model.training import checkpoint

WEIGHTS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}


class Unsaveable:
    def __reduce__(self):
        raise OSError("no space left on device")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    checkpoint.save_atomically(WEIGHTS, path)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save_atomically({"a": torch.zeros(1000), "b": Unsaveable()}, path)
    assert torch.equal(torch.load(path)["weight"], WEIGHTS["weight"])
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]
