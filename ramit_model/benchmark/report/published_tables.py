"""Tables of measured beside published figures."""

from collections.abc import Iterable

from ramit_model.benchmark.report.numbers import decimals_of, fixed, size_text
from ramit_model.benchmark.report.quality_tables import DECIMALS, label
from ramit_model.benchmark.report.table import MISSING, Cell, Table
from ramit_model.benchmark.results import PUBLISHED_OUTPUT, Counts, NetworkInfo, Results


def published(results: Results) -> list[Table]:
    """Measured beside published figures: metrics, then counts; no table without a published figure."""
    return [table for table in (_published_metrics(results), _published_counts(results)) if table.rows]


def _published_metrics(results: Results) -> Table:
    headers = ["Network", "Test set"]
    for metric in ("psnr", "ssim"):
        headers += [f"{label(metric)} measured", "published", "difference"]
    rows: list[list[Cell]] = []
    notes = []
    for network in results.networks:
        for dataset in results.datasets:
            known = network.published.sets.get(dataset.name) if network.published else None
            if not known:
                continue
            quality = dataset.results.get(network.name)
            row: list[Cell] = [network.name, dataset.name]
            for metric, value, least in (("psnr", known.psnr, 2), ("ssim", known.ssim, 4)):
                decimals = decimals_of(value, least)
                row += [
                    fixed(quality.average.get(metric) if quality else None, max(DECIMALS, decimals)),
                    fixed(value, decimals),
                    fixed(quality.difference.get(metric) if quality else None, max(DECIMALS, decimals), signed=True),
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
        comparable = _is_published_output(counts, results.scale)
        rows.append(
            [
                network.name,
                *_beside(counts.parameters, known.parameters, 1e3, 1),
                *_beside(counts.mult_adds, known.mult_adds, 1e9, 2, comparable=comparable),
            ]
        )
        if counts.mult_adds is not None and known.mult_adds is not None and not comparable:
            size = f"{size_text(counts.output)}; published ones at {size_text(PUBLISHED_OUTPUT)}"
            notes.append(f"{network.name}: Mult-Adds were measured at an output of {size}.")
        notes += _source_notes([network])
        if known.counts_note:
            notes.append(f"{network.name}: {known.counts_note}")
    return Table("Parameters and Mult-Adds beside published ones", headers, rows, notes)


def _beside(
    measured: float | None, known: float | None, unit: float, decimals: int, *, comparable: bool = True
) -> list[str]:
    """Cells: measured, published, difference, in `unit`."""
    difference = (measured - known) / unit if comparable and measured is not None and known is not None else None
    return [
        fixed(None if measured is None else measured / unit, decimals),
        MISSING if known is None else f"{known / unit:.6g}",
        fixed(difference, decimals, signed=True),
    ]


def _is_published_output(counts: Counts, scale: int) -> bool:
    """Whether the output is `PUBLISHED_OUTPUT`, or as near to it as a multiple of the scale comes."""
    return all(abs(size - known) < scale for size, known in zip(counts.output, PUBLISHED_OUTPUT, strict=True))


def _source_notes(networks: Iterable[NetworkInfo]) -> list[str]:
    notes = []
    for network in networks:
        if known := network.published:
            facts = [f"trained on {known.training}"] if known.training else []
            facts += [known.doubt] if known.doubt else []
            notes.append(f"Published figures of {network.name}: {'; '.join([known.source, *facts])}.")
    return notes
