"""Saving the results of a test: which errors end it, and which concern one picture."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ramit_model.inference import evaluation
from ramit_model.training.evaluated_model import EvaluatedModel

PICTURE = np.zeros((8, 8, 3), np.uint8)


def save(path: Path) -> str | None:
    model: Any = SimpleNamespace(_picture_path=lambda *_: path)
    return EvaluatedModel._save(model, PICTURE, "photos", "a", "tiny")


def test_a_name_that_is_too_long_concerns_one_picture(tmp_path: Path) -> None:
    path = tmp_path / ("あ" * 86)
    assert save(path) == f"data set photos: {path}: File name too long; rename the image"
    assert save(tmp_path / "sub/a.png") is None
    assert [each.name for each in tmp_path.rglob("*")] == ["sub", "a.png"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_full_disk_concerns_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "a.png")

    monkeypatch.setattr(evaluation, "save_picture", fail)
    with pytest.raises(OSError, match=r"a\.png"):
        save(tmp_path / "a.png")
