"""A benchmark from start to end: count, measure, compare, report."""

import datetime
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ramit_model.basicsr_bridge import build_network
from ramit_model.benchmark import published
from ramit_model.benchmark.measure.cost import measure_costs
from ramit_model.benchmark.measure.counting import channels_of, count, count_by_running
from ramit_model.benchmark.measure.fingerprints import (
    environment,
    foreign_versions,
    network_fingerprint,
    runtime_versions,
    weights_of,
)
from ramit_model.benchmark.measure.image_sets import ImageSet, read_sets
from ramit_model.benchmark.measure.isolation import be_quiet, isolated
from ramit_model.benchmark.measure.measurements import Measurements, key_of
from ramit_model.benchmark.measure.quality import Quality
from ramit_model.benchmark.networks import Network
from ramit_model.benchmark.plan import Plan, reference_name
from ramit_model.benchmark.report.report import write_report
from ramit_model.benchmark.results import (
    PUBLISHED_OUTPUT,
    Counts,
    NetworkInfo,
    NetworkQuality,
    Results,
    SetQuality,
    psnr_metric,
)
from ramit_model.benchmark.statistics import compare, mean_interval
from ramit_model.benchmark.strips import draw_strips
from ramit_model.inference.foreign.network import ForeignNetwork
from ramit_model.inference.opened import whose
from ramit_model.inference.padding import size_unit
from ramit_model.inference.weights import check_fit, read_weights
from ramit_model.system.errors import InputError, one_line

MEASUREMENTS = "measurements.jsonl"


def run_benchmark(plan: Plan, out: Path) -> Results:
    """Measure what is not measured yet, and write the report.

    Args:
        plan: Result of `load_plan`.
        out: Folder of the benchmark, with the measurements of an interrupted run.

    Raises:
        InputError: An image or weights cannot be used, or another benchmark writes into `out`.
        OSError: A file cannot be written.
    """
    be_quiet()
    here = environment()
    with Measurements(out / MEASUREMENTS) as store:
        networks = [_info(network, plan, store, here) for network in plan.networks]
        image_sets = read_sets(plan)
        quality = Quality(plan, image_sets, store, here, out / "pictures")
        quality.measure()
        costs = measure_costs(plan, store, here)
        for line in quality.not_drawn():
            print(f"basicsr benchmark: {line}", file=sys.stderr)
        strips = draw_strips(quality)
        results = Results(
            name=plan.name,
            option_file=plan.option_file,
            options=plan.options,
            finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            scale=plan.scale,
            baseline=plan.baseline,
            machine=here["machine"],
            versions={**here["versions"], **runtime_versions(plan.cases), **foreign_versions(plan.networks)},
            networks=networks,
            datasets=[_set_quality(quality, image_set) for image_set in image_sets],
            costs=costs,
            strips=[drawn.strip for drawn in strips],
            notes=plan.missing,
            literature=published.at_scale(plan.scale) if plan.scale > 1 else {},
        )
        write_report(results, {drawn.strip.file: drawn.png for drawn in strips}, out)
    return results


def _info(network: Network, plan: Plan, store: Measurements, environment: dict[str, Any]) -> NetworkInfo:
    """Build a network, check its weights and describe it.

    Raises:
        InputError: Its options are wrong, or its weights do not fit or cannot be read.
    """
    try:
        built = build_network(deepcopy(network.network_g))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(f"{plan.option_file}: networks.{network.name}.network_g: {one_line(error)}") from None
    if network.weights and not network.is_foreign:
        path = Path(network.weights).expanduser()
        try:
            check_fit(built, read_weights(path, network.param_key, built.state_dict()), path)
        except InputError as error:
            raise InputError(f"{error}{whose(path)}") from None
    return NetworkInfo(
        name=network.name,
        network_g=network.network_g,
        weights=weights_of(network),
        counts=_counts(built, network, plan.scale, store, environment),
        published=published.load()[network.published] if network.published else None,
        number=network.number,
        found=_found(built),
    )


def _counts(built: nn.Module, network: Network, scale: int, store: Measurements, environment: dict[str, Any]) -> Counts:
    """Count on the meta device or, if the network needs data, by one run, which is stored."""
    if isinstance(built, ForeignNetwork) and not built.trains:
        return Counts(built.parameters_in_file, None, None, PUBLISHED_OUTPUT)
    unit, channels = size_unit(built, network.network_g), channels_of(built, network.network_g)
    try:
        return count(built, channels=channels, scale=scale, unit=unit)
    except Exception as error:  # networks of others raise nearly anything without data
        reason = error
    fingerprint = network_fingerprint(network, trained=False)
    key = key_of(kind="counts", network=fingerprint, scale=scale, environment=environment)
    found = store.get(key)
    if found is None:
        try:
            counts = next(isolated(count_by_running, network.network_g, scale))
            found = [counts.mult_adds, counts.activations]
        except Exception as error:
            reason, found = error, [None, None]
            line = f"{network.name}: Mult-Adds cannot be counted: {one_line(reason)}"
            print(f"basicsr benchmark: {line}", file=sys.stderr)
        store.add(key, found, kind="counts", network=network.name)
    parameters = sum(parameter.numel() for parameter in built.parameters())
    return Counts(parameters, found[0], found[1], PUBLISHED_OUTPUT)


def _found(built: nn.Module) -> str | None:
    """Describe a network that its file describes, for the reader of a report."""
    if not isinstance(built, ForeignNetwork):
        return None
    halves = [name for name in ("float16", "bfloat16") if name in built.precisions]
    return ", ".join(
        [
            built.description,
            f"x{built.scale}",
            f"inputs padded to multiples of {built.size_unit}" if built.size_unit > 1 else "inputs of any size",
            f"float32{''.join(f', {name}' for name in halves)}",
        ]
    )


def _set_quality(quality: Quality, image_set: ImageSet) -> SetQuality:
    plan = quality.plan
    results = {quality.name_of(network): _network_quality(quality, image_set, network) for network in quality.networks}
    psnr = psnr_metric(plan.metrics)
    measured = {
        name: {image: metrics[psnr] for image, metrics in result.images.items()} if psnr else {}
        for name, result in results.items()
        if name != reference_name(plan.scale)
    }
    return SetQuality(
        name=image_set.name,
        images=[image.name for image in image_set.images],
        image_count=image_set.image_count,
        metrics=plan.metrics,
        reference=reference_name(plan.scale),
        results=results,
        comparisons=compare(measured),
        comparable=published.comparable(image_set.name, len(image_set.images), plan.metrics, plan.scale),
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
    comparable = published.comparable(image_set.name, len(images), plan.metrics, plan.scale)
    if complete and image_set.name in figures and comparable:
        difference = published.differences(average, figures[image_set.name])
    return NetworkQuality(
        images=images,
        average=average,
        interval={metric: interval for metric, interval in intervals.items() if interval},
        difference=difference,
        tiled=[name for name, value in values.items() if value.get("tiled")],
        out_of_memory=[name for name, value in values.items() if "out_of_memory" in value],
    )
