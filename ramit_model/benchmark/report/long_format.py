"""Every number of a benchmark as CSV in long format, for spreadsheets and data frames."""

import math
import os
from collections.abc import Iterator
from typing import NamedTuple

from ramit_model.benchmark.report.numbers import size_text
from ramit_model.benchmark.results import PUBLISHED_OUTPUT, CaseCost, NetworkInfo, Results, SetQuality
from ramit_model.system.files import write_csv_atomically


class CsvRow(NamedTuple):
    """One number and its keys; fields that do not apply are empty."""

    section: str
    network: str = ""
    dataset: str = ""
    image: str = ""
    case: str = ""
    quantity: str = ""
    unit: str = ""
    value: str | float = ""


def write_csv(path: str | os.PathLike[str], results: Results) -> None:
    """Write all numbers, unrounded, one per line.

    Raises:
        OSError: The file could not be written.
    """
    write_csv_atomically([CsvRow._fields, *csv_rows(results)], path)


def csv_rows(results: Results) -> list[CsvRow]:
    """Rows of all raw numbers; missing ones have no row."""
    rows = [row for network in results.networks for row in _network_rows(network)]
    rows += [row for dataset in results.datasets for row in _quality_rows(dataset)]
    rows += [row for entry in results.costs for row in _cost_rows(entry)]
    return [row for row in rows if not (isinstance(row.value, float) and math.isnan(row.value))]


def _network_rows(network: NetworkInfo) -> Iterator[CsvRow]:
    counts = network.counts
    row = CsvRow("counts", network.name, case=f"output {size_text(counts.output)}")
    yield row._replace(case="", quantity="parameters", value=counts.parameters)
    for quantity, value in (("mult_adds", counts.mult_adds), ("activations", counts.activations)):
        if value is not None:
            yield row._replace(quantity=quantity, value=value)
    if known := network.published:
        row = CsvRow("published", network.name)
        if known.parameters is not None:
            yield row._replace(quantity="parameters", value=known.parameters)
        if known.mult_adds is not None:
            yield row._replace(
                quantity="mult_adds", case=f"output {size_text(PUBLISHED_OUTPUT)}", value=known.mult_adds
            )
        for dataset, metrics in known.sets.items():
            yield row._replace(dataset=dataset, quantity="psnr", unit="dB", value=metrics.psnr)
            yield row._replace(dataset=dataset, quantity="ssim", value=metrics.ssim)


def _quality_rows(dataset: SetQuality) -> Iterator[CsvRow]:
    units = {
        metric: "dB" if block.get("type") == "calculate_psnr" or metric == "psnr" else ""
        for metric, block in dataset.metrics.items()
    }
    for name, quality in dataset.results.items():
        for image, metrics in quality.images.items():
            for metric, value in metrics.items():
                yield CsvRow("image", name, dataset.name, image, "", metric, units.get(metric, ""), value)
        row = CsvRow("average", name, dataset.name)
        yield row._replace(quantity="images", value=len(quality.images))
        for metric, value in quality.average.items():
            yield row._replace(quantity=metric, unit=units.get(metric, ""), value=value)
        for metric, interval in quality.interval.items():
            for limit, value in interval._asdict().items():
                yield row._replace(quantity=f"{metric} interval {limit}", unit=units.get(metric, ""), value=value)
        for metric, value in quality.difference.items():
            yield row._replace(quantity=f"{metric} less published", unit=units.get(metric, ""), value=value)
        row = CsvRow("image", name, dataset.name)
        for quantity, images in (("tiled", quality.tiled), ("out of memory", quality.out_of_memory)):
            for image in images:
                yield row._replace(image=image, quantity=quantity, value=1)
    for pair in dataset.comparisons:
        row = CsvRow("comparison", f"{pair.first} less {pair.second}", dataset.name)
        yield row._replace(quantity="images", value=pair.images)
        if not pair.images:
            continue
        yield row._replace(quantity="mean difference of psnr", unit="dB", value=pair.mean_difference)
        for limit, value in pair.interval._asdict().items() if pair.interval else ():
            yield row._replace(quantity=f"interval {limit}", unit="dB", value=value)
        yield row._replace(quantity="p", value=pair.p)
        yield row._replace(quantity="p after Holm", value=pair.p_holm)


def _cost_rows(entry: CaseCost) -> Iterator[CsvRow]:
    for name, network in entry.networks.items():
        row = CsvRow("cost", name, case=entry.case.words)
        if network.failure is not None:
            yield row._replace(quantity="failure", value=network.failure)
        for i, seconds in enumerate(network.seconds, 1):
            yield row._replace(quantity=f"run {i}", unit="s", value=seconds)
        single = {
            ("median", "s"): network.median,
            ("lower quartile", "s"): network.spread and network.spread.low,
            ("upper quartile", "s"): network.spread and network.spread.high,
            ("ratio", ""): network.ratio,
            ("ratio lower quartile", ""): network.ratio_spread and network.ratio_spread.low,
            ("ratio upper quartile", ""): network.ratio_spread and network.ratio_spread.high,
            ("throughput", "images/s"): network.images_per_second,
            ("peak memory", "bytes"): network.peak_memory,
        }
        for (quantity, unit), value in single.items():
            if value is not None:
                yield row._replace(quantity=quantity, unit=unit, value=value)
