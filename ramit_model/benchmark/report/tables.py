"""The tables of a report, whatever shows them."""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ramit_model.benchmark.results import (
    PUBLISHED_OUTPUT,
    CaseCost,
    Comparison,
    Counts,
    Interval,
    NetworkCost,
    NetworkInfo,
    NetworkQuality,
    Results,
    SetQuality,
)

MISSING = "-"
LEVEL = 0.05
"""Of significance."""
LONG_FAILURE = 24
"""Characters; a longer reason goes below the table."""
DECIMALS = 4
"""Of measured metrics."""


class Value(NamedTuple):
    """A part of a cell; the best ones are marked: bold, or with `*` in the terminal."""

    text: str
    marked: bool = False


Cell = str | tuple[Value, ...]
"""Text, or parts that a slash divides."""


@dataclass(frozen=True)
class Table:
    """A table, whatever shows it.

    Attributes:
        title: Caption, one line.
        headers: One a column.
        rows: As many cells as `headers` in each.
        notes: Sentences below the table.
        keys: How many columns on the left name the row; the others are right-aligned.
        folded: Details: the terminal leaves them out, the page shows them when asked.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    keys: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """Tables that belong together; `anchor` is what links lead to."""

    anchor: str
    title: str
    tables: Sequence[Table]


def sections(results: Results) -> list[Section]:
    """All tables, in reading order; a section without tables is left out."""
    quality = [table for dataset in results.datasets for table in (quality_table(dataset), per_image(dataset))]
    compared = [significance(dataset) for dataset in results.datasets if dataset.comparisons]
    found = [
        Section("overview", "Overview", [overview(results)]),
        Section("published", "Measured and published", published(results)),
        Section("quality", "Quality", quality),
        Section("significance", "Significance", compared),
        Section("cost", "Cost", cost(results)),
        Section("machine", "Machine and versions", [machine(results), weights(results)]),
    ]
    return [section for section in found if section.tables]


# The tables.


def overview(results: Results) -> Table:
    """One row a network: what it is, its average on each test set, and its time in the first case.

    What stands for no network comes first. Only networks that restored all images compete for a mark.
    """
    counts = {network.name: network.counts for network in results.networks if network.counts}
    outputs = {count.output for count in counts.values()}
    columns: dict[str, Mapping[str, Cell]] = {
        "Parameters, K": {name: _thousands(count.parameters) for name, count in counts.items()},
        f"Mult-Adds, G{_output_note(outputs)}": {
            name: _fixed(count.mult_adds / 1e9, 2) + _output_note([count.output], when=len(outputs) > 1)
            for name, count in counts.items()
        },
        "Activations, M": {name: _fixed(count.activations / 1e6, 1) for name, count in counts.items()},
    }
    for dataset in results.datasets:
        metrics = _metric_names(dataset)
        columns[f"{dataset.name} {' / '.join(map(_label, metrics))}"] = _averages(dataset)
    notes = [
        *(["Marked: the best of the networks, reference excluded."] if results.datasets else []),
        *_metric_notes(results.datasets),
        *(note for dataset in results.datasets for note in _image_notes(dataset)),
    ]
    if results.costs:
        first = results.costs[0]
        columns |= _first_times(first, results.baseline)
        notes.append(f"Time: median, {first.case.words}. {_ratio_note(results.baseline)}")
    notes += results.notes
    references = dict.fromkeys(dataset.reference for dataset in results.datasets)
    names = dict.fromkeys([*references, *(network.name for network in results.networks)])
    rows = [[name, *(column.get(name, MISSING) for column in columns.values())] for name in names]
    return Table("Overview", ["Network", *columns], rows, notes)


def published(results: Results) -> list[Table]:
    """What was measured beside what was published: metrics, then counts; only where something was published."""
    return [table for table in (_published_metrics(results), _published_counts(results)) if table.rows]


def quality_table(dataset: SetQuality) -> Table:
    """The averages of a test set with their confidence intervals."""
    metrics = _metric_names(dataset)
    averages = _averages(dataset)
    headers = ["Network", "Images"]
    for metric in metrics:
        headers += [_label(metric), "95 % interval"]
    rows: list[list[Cell]] = []
    for name, quality in dataset.results.items():
        row: list[Cell] = [name, str(len(quality.images))]
        for metric, value in zip(metrics, averages[name], strict=True):
            row += [(value,), _range(quality.interval.get(metric), DECIMALS)]
        rows.append(row)
    notes = [
        "Average over the images, and its bootstrap confidence interval. Marked: the best of the networks.",
        *_metric_notes([dataset]),
        *_image_notes(dataset),
    ]
    return Table(f"Averages on {dataset.name}", headers, rows, notes)


def per_image(dataset: SetQuality) -> Table:
    """Every metric of every network on each image of a test set."""
    metrics = _metric_names(dataset)
    rows: list[list[Cell]] = []
    for image in dataset.images:
        values = {name: quality.images.get(image, {}) for name, quality in dataset.results.items()}
        cells: dict[str, Cell] = {**_metric_cells(dataset, values, competing=values)}
        for name, quality in dataset.results.items():
            if image in quality.out_of_memory:
                cells[name] = "out of memory"
        rows.append([image, *cells.values()])
    rows.append(["average", *_averages(dataset).values()])
    title = f"{' / '.join(map(_label, metrics))} of each image of {dataset.name}"
    notes = ["Marked: the best of the networks.", *_metric_notes([dataset])]
    for name, quality in dataset.results.items():
        if quality.tiled:
            notes.append(f"{name}: restored in tiles, for want of memory: {', '.join(quality.tiled)}.")
        if quality.out_of_memory:
            notes.append(f"{name}: the average is over {len(quality.images)} of {len(dataset.images)} images.")
    return Table(title, ["Image", *dataset.results], rows, notes, folded=True)


def significance(dataset: SetQuality) -> Table:
    """The test between every two networks on a test set."""
    rows: list[list[Cell]] = []
    for pair in dataset.comparisons:
        cells: list[Cell] = [
            _fixed(pair.mean_difference, DECIMALS, signed=True),
            _range(pair.interval, DECIMALS, signed=True),
            _probability(pair.p),
            (Value(_probability(pair.p_holm), pair.p_holm < LEVEL),),
        ]
        # Without images there is nothing to tell, whatever stands in for it.
        rows.append([pair.first, pair.second, str(pair.images), *(cells if pair.images else [MISSING] * len(cells))])
    headers = ["First", "Second", "Images", "Difference, dB", "95 % interval", "p", "p after Holm"]
    notes = [
        "Two-sided Wilcoxon signed-rank test of the PSNRs of the same images. The difference is first less second, "
        "mean over the images, with its bootstrap confidence interval. The last column is corrected by Holm's method "
        f"for the {_count(len(rows), 'comparison')} of this table. Marked: below {LEVEL}.",
        *_power_notes(dataset.comparisons),
    ]
    return Table(f"PSNR differences on {dataset.name}", headers, rows, notes, keys=2)


def cost(results: Results) -> list[Table]:
    """Times and memory: a table for each mode on each device, a row for each network in each case."""
    groups: dict[tuple[str, str], list[CaseCost]] = {}
    for entry in results.costs:
        groups.setdefault((entry.case.mode, entry.case.device), []).append(entry)
    return [_cost_table(group, results.baseline) for group in groups.values()]


def machine(results: Results) -> Table:
    """What the benchmark ran on."""
    labels = {"memory_gb": "memory, GB", "gpu_memory_gb": "GPU memory, GB", "cpu_capability": "CPU capability"}
    labels |= {name: name.upper() for name in ("cpu", "gpu", "cuda")}
    facts = {labels.get(key, key.replace("_", " ")): value for key, value in results.machine.items()}
    rows = [[key, MISSING if value is None else str(value)] for key, value in (facts | results.versions).items()]
    return Table("Machine and versions", ["What", "Value"], rows, keys=2)


def weights(results: Results) -> Table:
    """Which files the networks were loaded from."""
    rows = [
        [network.name, *((network.weights.path, network.weights.sha256) if network.weights else (MISSING, MISSING))]
        for network in results.networks
    ]
    return Table("Weights", ["Network", "File", "SHA-256"], rows, keys=3, folded=True)


# Parts of the tables.


def _averages(dataset: SetQuality) -> dict[str, tuple[Value, ...]]:
    """Network -> its average of each metric; an average over fewer images than the others' is never the best."""
    complete = [name for name, quality in dataset.results.items() if _is_complete(quality, dataset)]
    values = {name: quality.average for name, quality in dataset.results.items()}
    return _metric_cells(dataset, values, competing=complete)


def _metric_cells(
    dataset: SetQuality, values: Mapping[str, Mapping[str, float]], competing: Collection[str]
) -> dict[str, tuple[Value, ...]]:
    """Network -> its value of each metric; what rounds to the best is marked, where at least two compete."""
    metrics = _metric_names(dataset)
    texts = {
        name: {metric: _fixed(found.get(metric), DECIMALS) for metric in metrics} for name, found in values.items()
    }
    best = {}
    for metric in metrics:
        candidates = [
            values[name][metric]
            for name in competing
            if name != dataset.reference and texts.get(name, {}).get(metric, MISSING) != MISSING
        ]
        if len(candidates) > 1:
            choose = min if _lower_is_better(dataset.metrics[metric]) else max
            best[metric] = _fixed(choose(candidates), DECIMALS)
    return {
        name: tuple(
            Value(text[metric], name in competing and name != dataset.reference and text[metric] == best.get(metric))
            for metric in metrics
        )
        for name, text in texts.items()
    }


def _is_complete(quality: NetworkQuality, dataset: SetQuality) -> bool:
    return all(image in quality.images for image in dataset.images)


def _metric_names(dataset: SetQuality) -> list[str]:
    """PSNR, SSIM, then the others as they come."""
    first = [metric for metric in ("psnr", "ssim") if metric in dataset.metrics]
    return first + [metric for metric in dataset.metrics if metric not in first]


def _label(metric: str) -> str:
    return metric.upper() if metric in ("psnr", "ssim", "niqe") else metric


def _lower_is_better(block: Mapping[str, Any]) -> bool:
    return block.get("better", "lower" if block.get("type") == "calculate_niqe" else "higher") == "lower"


def _metric_notes(datasets: Sequence[SetQuality]) -> list[str]:
    """How the metrics were computed; once, if it was the same on all test sets."""
    notes = {}
    for dataset in datasets:
        parts = []
        for metric in _metric_names(dataset):
            settings = {key: value for key, value in dataset.metrics[metric].items() if key not in ("type", "better")}
            text = ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())
            parts.append(f"{_label(metric)}: {text or 'default settings'}")
        notes[dataset.name] = "; ".join(parts) + "."
    if len(set(notes.values())) == 1:
        return list(notes.values())[:1]
    return [f"{name}: {note}" for name, note in notes.items()]


def _image_notes(dataset: SetQuality) -> list[str]:
    """What is special about the images that an average is over."""
    notes = []
    count = len(dataset.images)
    if count < dataset.image_count:
        notes.append(f"{dataset.name}: only {count} of {dataset.image_count} images were used.")
    for name, quality in dataset.results.items():
        if not _is_complete(quality, dataset):
            reason = f"; {len(quality.out_of_memory)} ran out of memory" if quality.out_of_memory else ""
            notes.append(
                f"{dataset.name}, {name}: average over {len(quality.images)} of {count} images{reason}. "
                "Such an average is never marked."
            )
        if quality.tiled:
            notes.append(
                f"{dataset.name}, {name}: {_count(len(quality.tiled), 'image')} restored in tiles, for want of memory."
            )
    return notes


def _first_times(first: CaseCost, baseline: str) -> dict[str, Mapping[str, Cell]]:
    scale, unit = _time_unit([first])
    title = "Training step" if first.case.mode == "train" else "Latency"
    return {
        f"{title}, {unit}": {name: _time(network, scale) for name, network in first.networks.items()},
        "Ratio": {name: _ratio(network, is_baseline=name == baseline) for name, network in first.networks.items()},
    }


def _published_metrics(results: Results) -> Table:
    headers = ["Network", "Test set"]
    for metric in ("psnr", "ssim"):
        headers += [f"{_label(metric)} measured", "published", "difference"]
    rows: list[list[Cell]] = []
    notes = []
    for network in results.networks:
        for dataset in results.datasets:
            known = network.published.sets.get(dataset.name) if network.published else None
            if not known:
                continue
            quality = dataset.results.get(network.name)
            row: list[Cell] = [network.name, dataset.name]
            for metric, value, decimals in (("psnr", known.psnr, 2), ("ssim", known.ssim, 4)):
                row += [
                    _fixed(quality.average.get(metric) if quality else None, DECIMALS),
                    _fixed(value, decimals),
                    _fixed(quality.difference.get(metric) if quality else None, DECIMALS, signed=True),
                ]
            rows.append(row)
            if quality and len(quality.images) < dataset.image_count:
                used = f"{len(quality.images)} of {dataset.image_count} images"
                notes.append(f"{dataset.name}, {network.name}: measured on {used}; published is for the whole set.")
            elif quality and not quality.difference:
                notes.append(f"{dataset.name}, {network.name}: not measured with the metrics of the published figures.")
    named = {str(row[0]) for row in rows}
    notes += _source_notes(network for network in results.networks if network.name in named)
    return Table("PSNR (dB) and SSIM beside published ones", headers, rows, notes, keys=2)


def _published_counts(results: Results) -> Table:
    headers = ["Network", "Parameters measured, K", "published", "difference"]
    headers += ["Mult-Adds measured, G", "published", "difference"]
    rows: list[list[Cell]] = []
    notes = []
    for network in results.networks:
        known, counts = network.published, network.counts
        if known is None or (known.parameters is None and known.mult_adds is None):
            continue
        comparable = counts is not None and _is_published_output(counts, results.scale)
        rows.append(
            [
                network.name,
                *_beside(counts.parameters if counts else None, known.parameters, 1e3, 1),
                *_beside(counts.mult_adds if counts else None, known.mult_adds, 1e9, 2, comparable=comparable),
            ]
        )
        if counts and known.mult_adds is not None and not comparable:
            size = f"{size_text(counts.output)}; published ones at {size_text(PUBLISHED_OUTPUT)}"
            notes.append(f"{network.name}: Mult-Adds were measured at an output of {size}.")
        notes += _source_notes([network])
        if known.counts_note:
            notes.append(f"{network.name}: {known.counts_note}")
    return Table("Parameters and Mult-Adds beside published ones", headers, rows, notes)


def _beside(
    measured: float | None, known: float | None, unit: float, decimals: int, *, comparable: bool = True
) -> list[str]:
    """Measured, published, difference, in `unit`."""
    difference = (measured - known) / unit if comparable and measured is not None and known is not None else None
    return [
        _fixed(None if measured is None else measured / unit, decimals),
        MISSING if known is None else f"{known / unit:.6g}",
        _fixed(difference, decimals, signed=True),
    ]


def _is_published_output(counts: Counts, scale: int) -> bool:
    """Whether the output is `PUBLISHED_OUTPUT`, or as near to it as a multiple of the scale comes."""
    return all(abs(size - known) < scale for size, known in zip(counts.output, PUBLISHED_OUTPUT, strict=True))


def _source_notes(networks: Iterable[NetworkInfo]) -> list[str]:
    return [
        f"Published figures of {network.name}: {network.published.source}." for network in networks if network.published
    ]


def _cost_table(group: Sequence[CaseCost], baseline: str) -> Table:
    """What is the same in all cases goes to the title instead of a column."""
    settings = {
        "Precision": [entry.case.precision for entry in group],
        "Memory format": [entry.case.memory_format.replace("_", " ") for entry in group],
        "torch.compile": ["compiled" if entry.case.compiled else "not compiled" for entry in group],
    }
    columns = {header: values for header, values in settings.items() if len(set(values)) > 1}
    common = [values[0] for header, values in settings.items() if header not in columns]
    scale, unit = _time_unit(group)
    memory = [network.peak_memory for entry in group for network in entry.networks.values() if network.peak_memory]
    memory_scale, memory_unit = (1e9, "GB") if memory and min(memory) >= 1e9 else (1e6, "MB")
    rows: list[list[Cell]] = []
    notes = []
    for i, entry in enumerate(group):
        for name, network in entry.networks.items():
            time, note = _time(network, scale), f"{network.failure}"
            if network.failure is not None and len(network.failure) > LONG_FAILURE:
                notes.append(f"{name}, {entry.case.words}: {note}")
            spread = network.spread and Interval(*(limit * scale for limit in network.spread))
            rows.append(
                [
                    name,
                    f"{entry.case.width}x{entry.case.height} x {entry.case.batch}",
                    *(values[i] for values in columns.values()),
                    time,
                    _range(spread, None),
                    _ratio(network, is_baseline=name == baseline),
                    _range(network.ratio_spread, 3),
                    _significant(network.images_per_second),
                    _significant(None if network.peak_memory is None else network.peak_memory / memory_scale),
                ]
            )
    case = group[0].case
    what = {"forward": "Forward pass", "train": "Training step"}.get(case.mode, case.mode)
    headers = ["Network", "Input", *columns, f"Median, {unit}", "quartiles", "Ratio", "quartiles", "Images/s"]
    title = ", ".join([f"{what} on {case.device}", *common])
    notes = ["Input: width x height x batch.", _ratio_note(baseline), _memory_note(case.device), *notes]
    headers.append(f"Peak memory, {memory_unit}")
    return Table(title, headers, rows, notes, keys=2 + len(columns))


def _ratio_note(baseline: str) -> str:
    return f"Ratio: the time of {baseline} over that of the network, run by run; above 1 is faster."


def _memory_note(device: str) -> str:
    what = "resident memory of the process" if device == "cpu" else "allocated by torch"
    return f"Peak memory: {what}, beyond what the process and the weights hold."


def _power_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Where there are too few images for any result to be significant."""
    sizes = sorted({pair.images for pair in comparisons if pair.images > 0})
    notes = [
        f"With {_count(size, 'image')}, the smallest possible two-sided p is 2/2^{size} = {_probability(2 / 2**size)}, "
        f"so nothing can be significant at {LEVEL}."
        for size in sizes
        if 2 / 2**size >= LEVEL
    ]
    if sizes:
        largest, tests = sizes[-1], len(comparisons)
        if 2 / 2**largest < LEVEL <= tests * 2 / 2**largest:
            notes.append(
                f"With {largest} images and {tests} comparisons, the smallest possible p after Holm is {tests} x "
                f"2/2^{largest} = {_probability(tests * 2 / 2**largest)}, so nothing can be significant at {LEVEL} "
                "after the correction."
            )
    return notes


# Numbers. What is not there is `-`.


def _fixed(value: float | None, decimals: int, *, signed: bool = False) -> str:
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def _significant(value: float | None, digits: int = 4) -> str:
    """With `digits` significant digits, never with an exponent."""
    if value is None or not math.isfinite(value):
        return MISSING
    before = math.floor(math.log10(abs(value))) + 1 if value else 1
    return f"{value:.{max(0, digits - before)}f}"


def _range(interval: Interval | None, decimals: int | None, *, signed: bool = False) -> str:
    if interval is None or any(map(math.isnan, interval)):
        return MISSING
    if decimals is None:
        return " to ".join(map(_significant, interval))
    return " to ".join(_fixed(limit, decimals, signed=signed) for limit in interval)


def _thousands(value: int) -> str:
    return _fixed(value / 1e3, 1)


def _probability(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size_text(size: tuple[int, int]) -> str:
    """Width and height as `1280x720`."""
    return f"{size[0]}x{size[1]}"


def _output_note(outputs: Iterable[tuple[int, int]], *, when: bool = True) -> str:
    """` (1280x720)`, if it is the same for all."""
    sizes = set(outputs)
    return f" ({size_text(*sizes)})" if when and len(sizes) == 1 else ""


def _time_unit(group: Iterable[CaseCost]) -> tuple[float, str]:
    """What seconds are multiplied with, and the unit that then is."""
    medians = [network.median for entry in group for network in entry.networks.values() if network.median is not None]
    return (1, "s") if medians and min(medians) >= 1 else (1e3, "ms")


def _time(network: NetworkCost, scale: float) -> str:
    if network.failure is not None:
        return network.failure if len(network.failure) <= LONG_FAILURE else "failed"
    return _significant(None if network.median is None else network.median * scale)


def _ratio(network: NetworkCost, *, is_baseline: bool) -> str:
    if is_baseline and network.failure is None:
        return "baseline"
    return _fixed(network.ratio, 3)
