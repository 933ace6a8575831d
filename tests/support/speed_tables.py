"""Tables of `measure_speed.py`, in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speed_jobs import COPIED, MATRIX_SIDE, NETWORKS, REFERENCE, SETTINGS
from tabulate import tabulate

from ramit_model.benchmark.report.numbers import significant
from ramit_model.benchmark.report.table import MISSING

NOTES = (
    "Time: median of {pairs} runs, reference and forms in turn. Ratio: the time of the reference over that of the "
    "form, run by run, median and quartiles; above 1 is faster. The reference is float32, not compiled.",
    "GFLOP/s: two for each of the network's Mult-Adds at this input (padded as the network pads it) over the time, "
    "also where a form computes fewer or more; a training step counts as three forward passes. In brackets: the share "
    "of what a product of two {side}x{side} matrices reaches in the same process, in the same precision or in float32, "
    "whichever is faster.",
    "Peak memory: {memory}, beyond what the process and the weights hold. In brackets: that of the reference over that "
    "of the form.",
)


def report(found: Mapping[str, Any], settings: Sequence[str], forms: Sequence[str]) -> Iterator[str]:
    """Everything as paragraphs of Markdown."""
    yield heading(found)
    device = found["device"]
    if found["measurements"]:
        for setting in settings:
            keeps = "freed memory is kept" if SETTINGS[setting] else "a Python process as it is"
            entries = [entry_ for entry_ in found["measurements"] if entry_["setting"] == setting]
            yield f"**{setting}** ({keeps})"
            yield table(entries, forms)
            yield limits(entries, device)
        memory = "resident memory of a separate process" if device == "cpu" else "allocated by torch"
        notes = [note.format(pairs=found["pairs"], side=MATRIX_SIDE[device], memory=memory) for note in NOTES]
        yield "\n".join(f"- {note}" for note in notes)
    if found["quality"]:
        yield quality_text(found["quality"])


def table(entries: Sequence[dict[str, Any]], forms: Sequence[str]) -> str:
    """Jobs below each other as a Markdown table, the forms side by side."""
    headers = ["Network", "Input", "Mult-Adds, G", "reference, ms", "GFLOP/s", "peak, MB"]
    for form in forms:
        headers += [f"{form.replace('-', ' ')}, ms", "ratio", "GFLOP/s", "peak, MB"]
    rows = []
    for found in entries:
        options = NETWORKS[found["network"]]
        name = f"{options['variant']} {'x2' if options['task'] == 'SR' else options['task']}"
        row = [name, found["input"], significant(found["mult_adds"] / 1e9)]
        row += _cells(found[REFERENCE], is_reference=True)
        for form in forms:
            row += _cells(found["forms"][form], is_reference=False)
        rows.append(row)
    align = ["left"] * 2 + ["right"] * (len(headers) - 2)
    return tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def _cells(cost: dict[str, Any], *, is_reference: bool) -> list[str]:
    if cost["failure"] is not None:
        return [cost["failure"], *[MISSING] * (2 if is_reference else 3)]
    ratio = MISSING
    if cost["ratio"] is not None:
        ratio = "{} ({} to {})".format(*(f"{value:.2f}" for value in (cost["ratio"], *cost["ratio_spread"])))
    peak = MISSING if cost["peak_memory"] is None else significant(cost["peak_memory"] / 1e6)
    if cost["memory_ratio"] is not None and not is_reference:
        peak += f" ({cost['memory_ratio']:.2f})"
    speed = f"{significant(cost['gflops'])} ({cost['matmul_share']:.0%})"
    return [significant(cost["median"] * 1e3), *([] if is_reference else [ratio]), speed, peak]


def limits(entries: Sequence[dict[str, Any]], device: str) -> str:
    """Rates of matrix products and copies on this machine, in a line."""
    rates: dict[str, list[float]] = {}
    for found in entries:
        for precision, rate in found["matmul_gflops"].items():
            rates.setdefault(f"{precision}, GFLOP/s", []).append(rate)
        if bandwidth := found["copy_gb_per_second"]:
            rates.setdefault(f"copy of {COPIED >> 30} GiB, GB/s read and written", []).append(bandwidth)
    spans = [f"{name} {significant(min(values))} to {significant(max(values))}" for name, values in rates.items()]
    reached = "; ".join(spans) or "not measured"
    return f"This machine: products of {MATRIX_SIDE[device]}x{MATRIX_SIDE[device]} matrices: {reached}."


def heading(found: Mapping[str, Any]) -> str:
    """Machine and versions, in a line."""
    parts = [f"{name} {value}" for name, value in found["machine"].items() if value is not None]
    return "; ".join([", ".join(parts), ", ".join(f"{name} {value}" for name, value in found["versions"].items())])


def quality_text(quality: Mapping[str, Any]) -> str:
    """The quality with published weights, in a line."""
    psnr = quality["psnr"]
    return (
        f"RAMiT-1 x2, published weights, Set5 ({quality['images']} images): PSNR {psnr['float32']:.4f} dB in float32, "
        f"{psnr['bfloat16']:.4f} dB in bfloat16 ({quality['psnr_difference']:+.4f} dB); largest difference of a pixel "
        f"from the reference, float32, range 0..1: {quality['largest_difference']:.2e}."
    )
