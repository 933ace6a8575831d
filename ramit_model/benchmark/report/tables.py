"""All tables of a report, in reading order."""

from collections.abc import Iterable, Mapping

from ramit_model.benchmark.report.cost_tables import cost, first_times, ratio_note
from ramit_model.benchmark.report.numbers import fixed, size_text
from ramit_model.benchmark.report.published_tables import published
from ramit_model.benchmark.report.quality_tables import (
    averages,
    image_notes,
    label,
    metric_names,
    metric_notes,
    per_image,
    quality_table,
    significance,
)
from ramit_model.benchmark.report.table import MISSING, Cell, Section, Table
from ramit_model.benchmark.results import Results


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


def overview(results: Results) -> Table:
    """Overview with one row per network: counts, averages on each image set, time in the first case.

    The baseline without a network comes first. Only networks that restored all images compete for a mark.
    """
    counts = {network.name: network.counts for network in results.networks}
    outputs = {count.output for count in counts.values()}
    columns: dict[str, Mapping[str, Cell]] = {
        "Parameters, K": {name: fixed(count.parameters / 1e3, 1) for name, count in counts.items()},
        f"Mult-Adds, G{_output_note(outputs)}": {
            name: fixed(count.mult_adds / 1e9, 2) + _output_note([count.output], when=len(outputs) > 1)
            for name, count in counts.items()
            if count.mult_adds is not None
        },
        "Activations, M": {
            name: fixed(count.activations / 1e6, 1) for name, count in counts.items() if count.activations is not None
        },
    }
    for dataset in results.datasets:
        metrics = metric_names(dataset)
        columns[f"{dataset.name} {' / '.join(map(label, metrics))}"] = averages(dataset)
    notes = [
        *(["Marked: the best of the networks, reference excluded."] if results.datasets else []),
        *metric_notes(results.datasets),
        *(note for dataset in results.datasets for note in image_notes(dataset)),
    ]
    if results.costs:
        first = results.costs[0]
        columns |= first_times(first, results.baseline)
        notes.append(f"Time: median, {first.case.words}. {ratio_note(results.baseline)}")
    notes += [f"{network.name}: {network.found}." for network in results.networks if network.found]
    notes += [
        f"{network.name}: Mult-Adds and activations were not counted."
        for network in results.networks
        if network.counts.mult_adds is None
    ]
    notes += results.notes
    references = dict.fromkeys(dataset.reference for dataset in results.datasets)
    names = dict.fromkeys([*references, *(network.name for network in results.networks)])
    rows = [[name, *(column.get(name, MISSING) for column in columns.values())] for name in names]
    return Table("Overview", ["Network", *columns], rows, notes)


def machine(results: Results) -> Table:
    """Machine and package versions that the benchmark ran on."""
    labels = {"memory_gb": "memory, GB", "gpu_memory_gb": "GPU memory, GB", "cpu_capability": "CPU capability"}
    labels |= {name: name.upper() for name in ("cpu", "gpu", "cuda")}
    facts = {labels.get(key, key.replace("_", " ")): value for key, value in results.machine.items()}
    rows = [[key, MISSING if value is None else str(value)] for key, value in (facts | results.versions).items()]
    return Table("Machine and versions", ["What", "Value"], rows, keys=2)


def weights(results: Results) -> Table:
    """Files that the weights were loaded from, with checksums; folded."""
    rows = [
        [network.name, *((network.weights.path, network.weights.sha256) if network.weights else (MISSING, MISSING))]
        for network in results.networks
    ]
    return Table("Weights", ["Network", "File", "SHA-256"], rows, keys=3, folded=True)


def _output_note(outputs: Iterable[tuple[int, int]], *, when: bool = True) -> str:
    """Size in parentheses, such as ` (1280x720)`, if it is the same for all; otherwise nothing."""
    sizes = set(outputs)
    return f" ({size_text(*sizes)})" if when and len(sizes) == 1 else ""
