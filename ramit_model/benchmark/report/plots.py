"""Plots of a benchmark as SVG: PSNR over cost for each image set, and speed relative to the baseline for each case."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ramit_model.benchmark.report.plot_style import as_svg, file_names, plain_settings, time_unit
from ramit_model.benchmark.report.scatter import Point, draw_points
from ramit_model.benchmark.report.speed_bars import describe_speed, draw_speed
from ramit_model.benchmark.results import Results, SetQuality, psnr_metric


class CostAxis(NamedTuple):
    """A cost to draw PSNR over: its part of the file name, axis label, network -> cost."""

    name: str
    label: str
    values: dict[str, float]


def draw_plots(results: Results) -> dict[str, tuple[bytes, str]]:
    """Draw every plot that has something to show.

    Returns:
        Path below the folder of the report, such as `plots/Set5_psnr_over_mult_adds.svg` -> (SVG, alternative text).
    """
    files = {}
    with plain_settings():
        safe = file_names(dataset.name for dataset in results.datasets)
        for dataset in results.datasets:
            for cost in _costs(results):
                points = _points(results, dataset, cost.values)
                if len(points) > 1:
                    title = _title(dataset, points)
                    figure = draw_points(points, title=title, x_label=cost.label, sized=cost.name != "parameters")
                    alternative = f"{title}, over {cost.label}. {_describe(points)}."
                    file = f"plots/{safe[dataset.name]}_psnr_over_{cost.name}.svg"
                    files[file] = (as_svg(figure, title), alternative)
        speed = draw_speed(results)
        if speed is not None:
            files["plots/speed.svg"] = (as_svg(speed, "Speed"), describe_speed(results))
    return files


def _costs(results: Results) -> list[CostAxis]:
    """Mult-Adds, latency in the first case of each device, parameters."""
    counts = {network.name: network.counts for network in results.networks}
    outputs = {count.output for count in counts.values()}
    at = " at {}x{} output".format(*outputs.pop()) if len(outputs) == 1 else ""
    mult_adds = {name: count.mult_adds / 1e9 for name, count in counts.items() if count.mult_adds is not None}
    costs = [CostAxis("mult_adds", f"Mult-Adds (G){at}", mult_adds)]
    devices = set()
    for cost in results.costs:
        case = cost.case
        if case.mode == "forward" and case.device not in devices:
            devices.add(case.device)
            seconds = {name: network.median for name, network in cost.networks.items() if network.median is not None}
            unit, factor = time_unit(seconds.values())
            values = {name: value * factor for name, value in seconds.items()}
            costs.append(CostAxis(f"latency_{case.device}", f"Latency ({unit}), {case.words}", values))
    parameters = {name: count.parameters / 1e3 for name, count in counts.items()}
    return [*costs, CostAxis("parameters", "Parameters (K)", parameters)]


def _points(results: Results, dataset: SetQuality, costs: dict[str, float]) -> list[Point]:
    """Networks with known PSNR and cost, in order."""
    metric = psnr_metric(dataset.metrics)
    measured = {
        name: quality.average[metric]
        for name, quality in dataset.results.items()
        # An average without some of the images cannot be compared with the others.
        if metric in quality.average and not quality.out_of_memory and math.isfinite(quality.average[metric])
    }
    published = {
        network.name: network.published.sets[dataset.name].psnr
        for network in results.networks
        if network.published is not None and dataset.name in network.published.sets
    }
    # Published averages are over all images and with the metrics of the paper; beside them, only the same is fair.
    comparable = len(dataset.images) == dataset.image_count and all(
        metric in dataset.results[name].difference for name in measured.keys() & published.keys()
    )
    psnr = {**published, **measured} if comparable or not measured.keys() & costs.keys() else measured
    return [
        Point(
            name=network.name,
            x=costs[network.name],
            psnr=psnr[network.name],
            published=network.name not in measured,
            parameters=network.counts.parameters,
            number=network.number,
        )
        for network in results.networks
        if network.name in psnr and network.name in costs
    ]


def _title(dataset: SetQuality, points: Sequence[Point]) -> str:
    """Image set and protocol: `Set5: PSNR on Y, 2 pixels cropped`."""
    if all(point.published for point in points):
        return f"{dataset.name}: published PSNR"
    block = dataset.metrics[psnr_metric(dataset.metrics) or ""]
    border = block.get("crop_border", 0)
    on_y = " on Y" if block.get("test_y_channel") else ""
    cropped = f"{border or 'no'} pixel{'' if border == 1 else 's'} cropped"
    part = len(dataset.images) != dataset.image_count
    images = f", {len(dataset.images)} of {dataset.image_count} images" if part else ""
    return f"{dataset.name}: PSNR{on_y}, {cropped}{images}"


def _describe(points: Sequence[Point]) -> str:
    return "; ".join(
        f"{point.name}: {point.x:.4g}, {point.psnr:.2f} dB{' (published)' if point.published else ''}"
        for point in points
    )
