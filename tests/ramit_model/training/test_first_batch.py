"""The picture of the first batch."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ramit_model.training.first_batch import MOST, SIDE, can_be_shown, save_first_batch


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "scale", "size"), [(1, 1, 16), (5, 2, 24), (12, 4, 40)])
def test_pairs_side_by_side(tmp_path: Path, channels: int, count: int, scale: int, size: int) -> None:
    gt = torch.rand(count, channels, size * scale, size * scale)
    lq = torch.rand(count, channels, size, size)
    save_first_batch(lq, gt, tmp_path / "first_batch.png")
    picture = cv2.imread(str(tmp_path / "first_batch.png"))
    enlarge = -(-SIDE // (size * scale))
    side = size * scale * enlarge
    shown = min(count, MOST)
    assert side >= SIDE
    assert picture.shape == ((side + 4) * -(-shown // 2), 2 * (2 * side + 4), 3)
    for number in range(shown):
        top, left = number // 2 * (side + 4) + 2, number % 2 * (2 * side + 4) + 2
        for images, step, begin in ((lq, scale * enlarge, left), (gt, enlarge, left + side)):
            found = picture[top : top + side : step, begin : begin + side : step, ::-1]
            expected = (images[number].numpy().transpose(1, 2, 0) * 255).round()
            assert np.abs(found - expected).max() == 0
    if shown % 2:
        assert (picture[-side:, 2 * side + 4 :] == 255).all()


def test_what_can_be_shown() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert can_be_shown(images)
    assert can_be_shown(images[:, :1])
    assert not can_be_shown(None)
    assert not can_be_shown(images[:, :2])  # flow
    assert not can_be_shown(images[None])  # video
