"""Tables of quality: averages, each image, differences between networks."""

import json
from collections.abc import Collection, Mapping, Sequence

from ramit_model.benchmark.report.numbers import counted, fixed, interval_text, probability
from ramit_model.benchmark.report.table import MISSING, Cell, Table, Value
from ramit_model.benchmark.results import Comparison, NetworkQuality, SetQuality
from ramit_model.inference.perceptual_metrics import better_of

LEVEL = 0.05
"""Significance level."""
DECIMALS = 4
"""Decimals of measured metrics."""


def quality_table(dataset: SetQuality) -> Table:
    """Averages on an image set with their confidence intervals."""
    metrics = metric_names(dataset)
    average = averages(dataset)
    headers = ["Network", "Images"]
    for metric in metrics:
        headers += [label(metric), "95 % interval"]
    rows: list[list[Cell]] = []
    for name, quality in dataset.results.items():
        row: list[Cell] = [name, str(len(quality.images))]
        for metric, value in zip(metrics, average[name], strict=True):
            row += [(value,), interval_text(quality.interval.get(metric), DECIMALS)]
        rows.append(row)
    notes = [
        "Average over the images, and its bootstrap confidence interval. Marked: the best of the networks.",
        *metric_notes([dataset]),
        *image_notes(dataset),
    ]
    return Table(f"Averages on {dataset.name}", headers, rows, notes)


def per_image(dataset: SetQuality) -> Table:
    """Every metric of every network on each image of a set; folded."""
    metrics = metric_names(dataset)
    rows: list[list[Cell]] = []
    for image in dataset.images:
        values = {name: quality.images.get(image, {}) for name, quality in dataset.results.items()}
        cells: dict[str, Cell] = {**_metric_cells(dataset, values, competing=values)}
        for name, quality in dataset.results.items():
            if image in quality.out_of_memory:
                cells[name] = "out of memory"
        rows.append([image, *cells.values()])
    rows.append(["average", *averages(dataset).values()])
    title = f"{' / '.join(map(label, metrics))} of each image of {dataset.name}"
    notes = ["Marked: the best of the networks.", *metric_notes([dataset])]
    for name, quality in dataset.results.items():
        if quality.tiled:
            notes.append(f"{name}: restored in tiles, for want of memory: {', '.join(quality.tiled)}.")
        if quality.out_of_memory:
            notes.append(f"{name}: the average is over {len(quality.images)} of {len(dataset.images)} images.")
    return Table(title, ["Image", *dataset.results], rows, notes, folded=True)


def significance(dataset: SetQuality) -> Table:
    """Wilcoxon test between every two networks on an image set."""
    rows: list[list[Cell]] = []
    for pair in dataset.comparisons:
        cells: list[Cell] = [
            fixed(pair.mean_difference, DECIMALS, signed=True),
            interval_text(pair.interval, DECIMALS, signed=True),
            probability(pair.p),
            (Value(probability(pair.p_holm), pair.p_holm < LEVEL),),
        ]
        # Without images the numbers are placeholders.
        rows.append([pair.first, pair.second, str(pair.images), *(cells if pair.images else [MISSING] * len(cells))])
    headers = ["First", "Second", "Images", "Difference, dB", "95 % interval", "p", "p after Holm"]
    notes = [
        "Two-sided Wilcoxon signed-rank test of the PSNRs of the same images. The difference is first less second, "
        "mean over the images, with its bootstrap confidence interval. The last column is corrected by Holm's method "
        f"for the {counted(len(rows), 'comparison')} of this table. Marked: below {LEVEL}.",
        *_power_notes(dataset.comparisons),
    ]
    return Table(f"PSNR differences on {dataset.name}", headers, rows, notes, keys=2)


def averages(dataset: SetQuality) -> dict[str, tuple[Value, ...]]:
    """Average of each metric by network; an average over fewer images than the others is never the best."""
    complete = [name for name, quality in dataset.results.items() if _is_complete(quality, dataset)]
    values = {name: quality.average for name, quality in dataset.results.items()}
    return _metric_cells(dataset, values, competing=complete)


def _metric_cells(
    dataset: SetQuality, values: Mapping[str, Mapping[str, float]], competing: Collection[str]
) -> dict[str, tuple[Value, ...]]:
    """Value of each metric by network; all that round to the best are marked if at least two networks compete."""
    metrics = metric_names(dataset)
    texts = {name: {metric: fixed(found.get(metric), DECIMALS) for metric in metrics} for name, found in values.items()}
    best = {}
    for metric in metrics:
        candidates = [
            values[name][metric]
            for name in competing
            if name != dataset.reference and texts.get(name, {}).get(metric, MISSING) != MISSING
        ]
        if len(candidates) > 1:
            choose = min if better_of(dataset.metrics[metric]) == "lower" else max
            best[metric] = fixed(choose(candidates), DECIMALS)
    return {
        name: tuple(
            Value(text[metric], name in competing and name != dataset.reference and text[metric] == best.get(metric))
            for metric in metrics
        )
        for name, text in texts.items()
    }


def _is_complete(quality: NetworkQuality, dataset: SetQuality) -> bool:
    return all(image in quality.images for image in dataset.images)


def metric_names(dataset: SetQuality) -> list[str]:
    """Names of the metrics: PSNR, SSIM, then the others in the order of the option file."""
    first = [metric for metric in ("psnr", "ssim") if metric in dataset.metrics]
    return first + [metric for metric in dataset.metrics if metric not in first]


def label(metric: str) -> str:
    """Name of a metric in headers."""
    return metric.upper() if metric in ("psnr", "ssim", "niqe", "lpips", "dists") else metric


def metric_notes(datasets: Sequence[SetQuality]) -> list[str]:
    """Notes on how the metrics were computed; a single one if it was the same on all image sets."""
    notes = {}
    for dataset in datasets:
        parts = []
        for metric in metric_names(dataset):
            settings = {key: value for key, value in dataset.metrics[metric].items() if key not in ("type", "better")}
            text = ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())
            parts.append(f"{label(metric)}: {text or 'default settings'}")
        notes[dataset.name] = "; ".join(parts) + "."
    if len(set(notes.values())) == 1:
        return list(notes.values())[:1]
    return [f"{name}: {note}" for name, note in notes.items()]


def image_notes(dataset: SetQuality) -> list[str]:
    """Notes on images that were left out or restored in tiles."""
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
                f"{dataset.name}, {name}: {counted(len(quality.tiled), 'image')} restored in tiles, for want of memory."
            )
    return notes


def _power_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Notes on numbers of images too small for any result to be significant."""
    sizes = sorted({pair.images for pair in comparisons if pair.images > 0})
    notes = [
        f"With {counted(size, 'image')}, the smallest possible two-sided p is 2/2^{size} = {probability(2 / 2**size)}, "
        f"so nothing can be significant at {LEVEL}."
        for size in sizes
        if 2 / 2**size >= LEVEL
    ]
    if sizes:
        largest, tests = sizes[-1], len(comparisons)
        if 2 / 2**largest < LEVEL <= tests * 2 / 2**largest:
            notes.append(
                f"With {largest} images and {tests} comparisons, the smallest possible p after Holm is {tests} x "
                f"2/2^{largest} = {probability(tests * 2 / 2**largest)}, so nothing can be significant at {LEVEL} "
                "after the correction."
            )
    return notes
