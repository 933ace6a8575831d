"""Picture of the first batch of a training: what the network learns from."""

from pathlib import Path
from typing import TypeGuard

import cv2
import numpy as np
from torch import Tensor

from ramit_model.basicsr_bridge import tensor2img
from ramit_model.inference.evaluation import Pictures, save_picture, side_by_side

MOST = 8
"""Patches in the picture."""
COLUMNS = 2
SIDE = 128
"""Pixels that the side of a patch has at least; smaller ones are enlarged pixel by pixel."""


def can_be_shown(images: object) -> TypeGuard[Tensor]:
    """Whether these are color or gray images; models of users may train on others."""
    return isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3)


def save_first_batch(lq: Tensor, gt: Tensor, path: Path) -> None:
    """Write pairs of patches as PNG: LQ, enlarged pixel by pixel, and GT to its right.

    Args:
        lq: (B, C, H, W), range 0..1, RGB or gray.
        gt: (B, C, H * scale, W * scale), range 0..1.
        path: File to write, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    patches = zip(lq[:MOST].float().split(1), gt[:MOST].float().split(1), strict=True)
    pairs = [side_by_side(Pictures(tensor2img([low]), tensor2img([high]), None)) for low, high in patches]
    enlarge = -(-SIDE // gt.shape[2])
    pairs = [pair.repeat(enlarge, axis=0).repeat(enlarge, axis=1) for pair in pairs]
    # A gap around every pair, and white where the last row is not full.
    framed = [np.pad(pair, ((2, 2), (2, 2), (0, 0)), constant_values=255) for pair in pairs]
    framed += [np.full_like(framed[0], 255)] * (-len(framed) % COLUMNS)
    rows = [np.concatenate(framed[i : i + COLUMNS], axis=1) for i in range(0, len(framed), COLUMNS)]
    save_picture(cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR), path)
