"""Tables of time and memory."""

from collections.abc import Iterable, Mapping, Sequence

from ramit_model.benchmark.report.numbers import fixed, interval_text, significant
from ramit_model.benchmark.report.table import Cell, Table
from ramit_model.benchmark.results import PYTORCH, CaseCost, Interval, NetworkCost, Results

LONG_FAILURE = 24
"""Characters; a longer reason goes below the table."""


def cost(results: Results) -> list[Table]:
    """Times and memory: one table per mode and device, one row per case and network."""
    groups: dict[tuple[str, str], list[CaseCost]] = {}
    for entry in results.costs:
        groups.setdefault((entry.case.mode, entry.case.device), []).append(entry)
    return [_cost_table(group, results.baseline) for group in groups.values()]


def _cost_table(group: Sequence[CaseCost], baseline: str) -> Table:
    """Table of some cases; settings that they share stand in the title instead of a column."""
    settings = {
        "Runtime": [entry.case.runtime for entry in group],
        "Precision": [entry.case.precision for entry in group],
        "Memory format": [entry.case.memory_format.replace("_", " ") for entry in group],
        "torch.compile": ["compiled" if entry.case.compiled else "not compiled" for entry in group],
    }
    columns = {header: values for header, values in settings.items() if len(set(values)) > 1}
    common = [values[0] for header, values in settings.items() if header not in columns and values[0] != PYTORCH]
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
                    interval_text(spread, None),
                    _ratio(network, is_baseline=name == baseline),
                    interval_text(network.ratio_spread, 3),
                    significant(network.images_per_second),
                    significant(None if network.peak_memory is None else network.peak_memory / memory_scale),
                ]
            )
    case = group[0].case
    what = {"forward": "Forward pass", "train": "Training step"}.get(case.mode, case.mode)
    headers = ["Network", "Input", *columns, f"Median, {unit}", "quartiles", "Ratio", "quartiles", "Images/s"]
    title = ", ".join([f"{what} on {case.device}", *common])
    notes = ["Input: width x height x batch.", ratio_note(baseline), _memory_note(case.device), *notes]
    headers.append(f"Peak memory, {memory_unit}")
    return Table(title, headers, rows, notes, keys=2 + len(columns))


def first_times(first: CaseCost, baseline: str) -> dict[str, Mapping[str, Cell]]:
    """Columns of the overview with time and ratio in the first case: header -> network -> cell."""
    scale, unit = _time_unit([first])
    title = "Training step" if first.case.mode == "train" else "Latency"
    return {
        f"{title}, {unit}": {name: _time(network, scale) for name, network in first.networks.items()},
        "Ratio": {name: _ratio(network, is_baseline=name == baseline) for name, network in first.networks.items()},
    }


def ratio_note(baseline: str) -> str:
    """Explanation of the column of ratios."""
    return f"Ratio: the time of {baseline} over that of the network, run by run; above 1 is faster."


def _memory_note(device: str) -> str:
    what = "resident memory of the process" if device == "cpu" else "allocated by torch"
    return f"Peak memory: {what}, beyond what the process and the weights hold."


def _time_unit(group: Iterable[CaseCost]) -> tuple[float, str]:
    """Factor from seconds to a unit, and the name of the unit."""
    medians = [network.median for entry in group for network in entry.networks.values() if network.median is not None]
    return (1, "s") if medians and min(medians) >= 1 else (1e3, "ms")


def _time(network: NetworkCost, scale: float) -> str:
    if network.failure is not None:
        return network.failure if len(network.failure) <= LONG_FAILURE else "failed"
    return significant(None if network.median is None else network.median * scale)


def _ratio(network: NetworkCost, *, is_baseline: bool) -> str:
    if is_baseline and network.failure is None:
        return "baseline"
    return fixed(network.ratio, 3)
