"""Draw the strip of restored pictures in the README: python tests/draw_strip.py WEIGHTS_FOLDER.

The photographs come with scikit-image: astronaut (NASA, public domain), coffee (Rachel Michetti, CC0) and chelsea
(Stefan van der Walt, CC0).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from datasets_prep.bicubic import crop_to_multiple, downscale
from ramit_arch import RAMiT
from ramit_model.data.degradation import add_test_noise
from ramit_model.inference.padding import run_padded
from ramit_model.inference.weights import read_weights

STRIP = Path(__file__).resolve().parents[1] / "ramit_model/inference/strip.jpg"
SIDE, CAPTION, GAP = 200, 22, 4
"""Side of a crop, height of the line above it, and space between, in pixels."""

DARKNESS = 10
"""How many times as dark the photograph for low-light enhancement is made, before it is rounded to 8 bits."""


@dataclass(frozen=True)
class Example:
    """A photograph to degrade and restore, and which crop of it to show."""

    title: str
    weights: str
    task: str
    scale: int
    photograph: str
    top: int
    left: int


EXAMPLES = (
    Example("input, x4", "RAMiT-slimSR_X4", "SR", 4, "astronaut", 0, 124),
    Example("input, x2", "RAMiT-1_X2", "SR", 2, "astronaut", 308, 116),
    Example("input, sigma 50", "RAMiT-1_CDN", "CDN", 1, "chelsea", 40, 90),
    Example("input, low light", "RAMiT-slimLLE_LLE", "LLE", 1, "coffee", 0, 150),
)


def to_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    """(H, W, 3) in 0..255 to (1, 3, H, W) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None] / 255


def to_image(x: torch.Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) in 0..1 to (H, W, 3) in 0..255."""
    image: NDArray[np.uint8] = x[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    return image


def degrade(image: NDArray[np.uint8], task: str, scale: int) -> torch.Tensor:
    """Input of the network, (1, 3, H / scale, W / scale) in 0..1."""
    if task == "CDN":
        return add_test_noise(to_tensor(image)[0], 50)[None]
    if task == "LLE":
        return to_tensor((image / DARKNESS).astype(np.uint8))
    return to_tensor(downscale(image, scale))


@torch.inference_mode()
def panels(example: Example, weights: Path) -> list[NDArray[np.uint8]]:
    """Crops of the input, the result and the ground truth, each (SIDE, SIDE, 3)."""
    gt = crop_to_multiple(getattr(skimage.data, example.photograph)(), example.scale)
    lq = degrade(gt, example.task, example.scale)
    variant = example.weights.split("_")[0]
    net = RAMiT(variant=variant, task=example.task, **({"scale": example.scale} if example.task == "SR" else {})).eval()
    net.load_state_dict(read_weights(weights / f"{example.weights}.pth"))
    result = to_image(run_padded(net, lq, net.size_unit, example.scale))
    # The input of super-resolution is shown as it is, every pixel a block.
    shown = to_image(lq).repeat(example.scale, axis=0).repeat(example.scale, axis=1)
    box = np.s_[example.top : example.top + SIDE, example.left : example.left + SIDE]
    return [shown[box], result[box], gt[box]]


def main() -> None:
    """Two examples in a row, each as input, result and ground truth."""
    weights = Path(sys.argv[1])
    font = ImageFont.load_default(size=13)
    width, height = 6 * SIDE + 5 * GAP + 2 * GAP, 2 * (SIDE + CAPTION)
    strip = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(strip)
    for index, example in enumerate(EXAMPLES):
        top = index // 2 * (SIDE + CAPTION)
        captions = (example.title, example.weights, "ground truth")
        for column, (panel, caption) in enumerate(zip(panels(example, weights), captions, strict=True)):
            left = (index % 2 * 3 + column) * (SIDE + GAP) + index % 2 * 2 * GAP
            draw.text((left + SIDE / 2, top + CAPTION / 2), caption, "black", font, anchor="mm")
            strip.paste(Image.fromarray(panel), (left, top + CAPTION))
    strip.save(STRIP, quality=88)
    print(f"{STRIP}: {STRIP.stat().st_size} bytes")


if __name__ == "__main__":
    main()
