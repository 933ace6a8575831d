"""The whole of a benchmark: count, measure, compare, report."""

import datetime
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import ramit_arch  # noqa: F401  mends BasicSR for the imports below

import cv2
import numpy as np
from basicsr.archs import build_network
from torch import nn

from ramit_model.benchmark import published
from ramit_model.benchmark.measure.cost import channels_of, measure_costs
from ramit_model.benchmark.measure.counting import count
from ramit_model.benchmark.measure.fingerprints import environment, weights_of
from ramit_model.benchmark.measure.isolation import be_quiet
from ramit_model.benchmark.measure.measurements import Measurements
from ramit_model.benchmark.measure.quality import EvalImage, ImageSet, Quality, read_gt, read_sets, reference
from ramit_model.benchmark.plan import Network, Plan, StripPlan
from ramit_model.benchmark.report.report import write_report
from ramit_model.benchmark.report.strips import choose_crop, crop_psnr, draw_strip
from ramit_model.benchmark.results import (
    Counts,
    NetworkInfo,
    NetworkQuality,
    Results,
    SetQuality,
    Strip,
    psnr_metric,
)
from ramit_model.benchmark.statistics import compare, mean_interval
from ramit_model.inference.evaluation import Picture
from ramit_model.inference.padding import size_unit
from ramit_model.inference.weights import check_fit, read_weights
from ramit_model.system.errors import InputError, one_line

MEASUREMENTS = "measurements.jsonl"
BLUR = 2
"""Standard deviation in pixels."""


def run_benchmark(plan: Plan, out: Path) -> Results:
    """Measure what is not measured yet, and write the report.

    Args:
        plan: From `load_plan`.
        out: Folder of the benchmark, with what an interrupted one has measured.

    Raises:
        InputError: An image or weights cannot be used, or another benchmark writes into `out`.
        OSError: A file cannot be written.
    """
    be_quiet()
    here = environment()
    with Measurements(out / MEASUREMENTS) as store:
        networks = [_info(network, plan) for network in plan.networks]
        image_sets = read_sets(plan)
        quality = Quality(plan, image_sets, store, here, out / "pictures")
        quality.measure()
        costs = measure_costs(plan, store, here)
        for line in quality.not_drawn():
            print(f"basicsr benchmark: {line}", file=sys.stderr)
        strips = [strip for strip in (_strip(quality, *drawn) for drawn in quality.strips()) if strip]
        results = Results(
            name=plan.name,
            option_file=plan.option_file,
            options=plan.options,
            finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            scale=plan.scale,
            baseline=plan.baseline,
            machine=here["machine"],
            versions=here["versions"],
            networks=networks,
            datasets=[_set_quality(quality, image_set) for image_set in image_sets],
            costs=costs,
            strips=[strip for strip, _ in strips],
            notes=plan.missing,
        )
        write_report(results, {strip.file: content for strip, content in strips}, out)
    return results


def _info(network: Network, plan: Plan) -> NetworkInfo:
    """Describe a network; its options and weights must fit.

    Raises:
        InputError: They do not, or the file cannot be read.
    """
    try:
        built = build_network(deepcopy(network.network_g))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(f"{plan.option_file}: networks.{network.name}.network_g: {one_line(error)}") from None
    if network.weights:
        path = Path(network.weights).expanduser()
        check_fit(built, read_weights(path, network.param_key), path)
    return NetworkInfo(
        name=network.name,
        network_g=network.network_g,
        weights=weights_of(network),
        counts=_counts(built, network, plan.scale),
        published=published.load()[network.published] if network.published else None,
    )


def _counts(built: nn.Module, network: Network, scale: int) -> Counts | None:
    unit, channels = size_unit(built, network.network_g), channels_of(built, network.network_g)
    try:
        return count(built, channels=channels, scale=scale, unit=unit)
    except RuntimeError as error:
        print(f"basicsr benchmark: {network.name}: Mult-Adds cannot be counted: {one_line(error)}", file=sys.stderr)
        return None


def _set_quality(quality: Quality, image_set: ImageSet) -> SetQuality:
    plan = quality.plan
    results = {quality.name_of(network): _network_quality(quality, image_set, network) for network in quality.networks}
    psnr = psnr_metric(plan.metrics)
    measured = {
        name: {image: metrics[psnr] for image, metrics in result.images.items()} if psnr else {}
        for name, result in results.items()
        if name != reference(plan.scale)
    }
    return SetQuality(
        name=image_set.name,
        images=[image.name for image in image_set.images],
        image_count=image_set.image_count,
        metrics=plan.metrics,
        reference=reference(plan.scale),
        results=results,
        comparisons=compare(measured),
    )


def _network_quality(quality: Quality, image_set: ImageSet, network: Network | None) -> NetworkQuality:
    plan = quality.plan
    values = {image.name: quality.value(image_set, network, image) for image in image_set.images}
    images: dict[str, dict[str, float]] = {
        name: value["metrics"] for name, value in values.items() if "metrics" in value
    }
    columns = {metric: [metrics[metric] for metrics in images.values()] for metric in plan.metrics}
    average = {metric: float(np.mean(column)) for metric, column in columns.items() if column}
    intervals = {metric: mean_interval(column) for metric, column in columns.items()}
    difference: dict[str, float] = {}
    figures = published.load()[network.published].sets if network and network.published else {}
    complete = len(images) == image_set.image_count
    if (
        complete
        and image_set.name in figures
        and published.comparable(image_set.name, len(images), plan.metrics, plan.scale)
    ):
        difference = published.differences(average, figures[image_set.name])
    return NetworkQuality(
        images=images,
        average=average,
        interval={metric: interval for metric, interval in intervals.items() if interval},
        difference=difference,
        tiled=[name for name, value in values.items() if value.get("tiled")],
        out_of_memory=[name for name, value in values.items() if "out_of_memory" in value],
    )


def _strip(quality: Quality, image_set: ImageSet, image: EvalImage, drawn: StripPlan) -> tuple[Strip, bytes] | None:
    """A comparison picture and its entry; None where the crop is not inside the image."""
    plan = quality.plan
    gt = read_gt(image_set, image)
    pictures = _pictures(quality, image_set, image)
    # Where blurring costs most there is detail to compare; where the input is worst, dark walls or mere noise.
    crop = drawn.crop or choose_crop(gt, cv2.GaussianBlur(gt, (0, 0), BLUR), drawn.size)
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
    whole = _psnr_of(quality, image_set, image)
    captions = {
        name: f"{whole[name]:.2f} dB (crop {value:.2f})" if name in whole else f"crop {value:.2f} dB"
        for name, value in in_crop.items()
    }
    # An image may be drawn more than once.
    file = f"strips/{image_set.name}_{image.name}_{'_'.join(map(str, crop))}.png"
    restored = {name: value for name, value in whole.items() if name != reference(plan.scale)}
    best = [name for name, value in restored.items() if value == max(restored.values())]
    content = draw_strip(gt, pictures, crop, captions, f"{image_set.name}, {image.name}", best)
    return Strip(image_set.name, image.name, crop, file, whole, in_crop), content


def _pictures(quality: Quality, image_set: ImageSet, image: EvalImage) -> dict[str, Picture]:
    """What the reference and every network made of an image."""
    pictures: dict[str, Any] = {}
    for network in quality.networks:
        path = quality.picture(image_set, network, image)
        if path.is_file():
            pictures[quality.name_of(network)] = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return pictures


def _psnr_of(quality: Quality, image_set: ImageSet, image: EvalImage) -> dict[str, float]:
    psnr, psnrs = psnr_metric(quality.plan.metrics), {}
    for network in quality.networks:
        metrics: dict[str, float] = quality.value(image_set, network, image).get("metrics", {})
        if psnr in metrics:
            psnrs[quality.name_of(network)] = metrics[psnr]
    return psnrs
