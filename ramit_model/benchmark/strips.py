"""Comparison strips of a benchmark: chooses the crops, computes their PSNR and has them drawn."""

import sys
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from ramit_model.benchmark.measure.image_sets import read_gt
from ramit_model.benchmark.measure.quality import PlannedStrip, Quality
from ramit_model.benchmark.plan import reference_name
from ramit_model.benchmark.report.strips import choose_crop, crop_psnr, draw_strip
from ramit_model.benchmark.results import Strip, psnr_metric
from ramit_model.inference.evaluation import Picture

BLUR = 2
"""Standard deviation in pixels."""


class DrawnStrip(NamedTuple):
    """Entry of a strip in the results, and its PNG."""

    strip: Strip
    png: bytes


def draw_strips(quality: Quality) -> list[DrawnStrip]:
    """Draw every strip whose crop is inside its image; a line on stderr tells of each that is left out."""
    drawn = [strip for planned in quality.strips() if (strip := _draw(quality, planned))]
    return _with_files_of_their_own(drawn)


def _with_files_of_their_own(drawn: list[DrawnStrip]) -> list[DrawnStrip]:
    """Number the strips whose file another one has: image b_c of set a is called as image c of set a_b is."""
    shown: dict[str, tuple[str, str]] = {}
    strips = []
    for number, (strip, png) in enumerate(drawn, 1):
        what = (strip.dataset, strip.image)
        if shown.setdefault(strip.file, what) != what:
            strip = replace(strip, file=f"{strip.file.removesuffix('.png')}_{number}.png")  # noqa: PLW2901
        strips.append(DrawnStrip(strip, png))
    return strips


def _draw(quality: Quality, planned: PlannedStrip) -> DrawnStrip | None:
    image_set, image, wanted = planned
    plan = quality.plan
    gt = read_gt(image_set, image)
    pictures = _pictures(quality, planned)
    # Blurring costs most where there is detail to compare; the input is worst at dark walls or mere noise.
    crop = wanted.crop or choose_crop(gt, cv2.GaussianBlur(gt, (0, 0), BLUR), wanted.size)
    height, width = gt.shape[:2]
    if crop[0] < 0 or crop[1] < 0 or min(crop[2:]) < 1 or crop[0] + crop[2] > width or crop[1] + crop[3] > height:
        print(
            f"basicsr benchmark: strips: crop {list(crop)} is not inside {image.name}, {width}x{height} pixels",
            file=sys.stderr,
        )
        return None
    psnr = psnr_metric(plan.metrics)
    on_y = bool(psnr and plan.metrics[psnr].get("test_y_channel"))
    in_crop = {name: crop_psnr(picture, gt, crop, test_y_channel=on_y) for name, picture in pictures.items()}
    whole = _psnr_by_network(quality, planned)
    captions = {
        name: f"{whole[name]:.2f} dB (crop {value:.2f})" if name in whole else f"crop {value:.2f} dB"
        for name, value in in_crop.items()
    }
    # An image may be drawn more than once.
    file = f"strips/{image_set.name}_{image.name}_{'_'.join(map(str, crop))}.png"
    restored = {name: value for name, value in whole.items() if name != reference_name(plan.scale)}
    best = [name for name, value in restored.items() if value == max(restored.values())]
    png = draw_strip(gt, pictures, crop, captions, f"{image_set.name}, {image.name}", best)
    return DrawnStrip(Strip(image_set.name, image.name, crop, file, whole, in_crop), png)


def _pictures(quality: Quality, planned: PlannedStrip) -> dict[str, Picture]:
    """Results of the baseline without a network and of every network that has one for this image."""
    pictures: dict[str, Picture] = {}
    for network in quality.networks:
        path = quality.picture(planned.image_set, network, planned.image)
        if path.is_file():
            content = np.frombuffer(path.read_bytes(), np.uint8)  # OpenCV opens no path that is no text
            pictures[quality.name_of(network)] = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)  # type: ignore[assignment]
    return pictures


def _psnr_by_network(quality: Quality, planned: PlannedStrip) -> dict[str, float]:
    psnr, psnrs = psnr_metric(quality.plan.metrics), {}
    for network in quality.networks:
        metrics: dict[str, float] = quality.value(planned.image_set, network, planned.image).get("metrics", {})
        if psnr in metrics:
            psnrs[quality.name_of(network)] = metrics[psnr]
    return psnrs
