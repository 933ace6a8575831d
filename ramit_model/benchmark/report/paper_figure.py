"""Figure for papers: PSNR over Mult-Adds of all networks measured or published at a scale, as SVG and PDF."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from ramit_model.benchmark.report.labels import place_names
from ramit_model.benchmark.report.plot_style import (
    COLORS,
    GRID,
    INK,
    PIXELS_PER_INCH,
    as_pdf,
    as_svg,
    file_names,
    plain_settings,
    tidy,
)
from ramit_model.benchmark.results import NetworkInfo, Results, SetQuality, psnr_metric

OURS = "RAMiT"
"""Type of the networks that stand out."""
USUAL = "DIV2K"
"""Training images that need no remark."""
TICKS = (1, 1.5, 2, 3, 4, 5, 6, 8)
"""Leading digits of the ticks of the logarithmic axis."""
NEAR = 7
"""Pixels between a marker and its name within which no line is needed."""


class PaperFigure(NamedTuple):
    """A figure in both formats, and its alternative text."""

    svg: bytes
    pdf: bytes
    text: str


@dataclass(frozen=True)
class Entry:
    """A network in the figure.

    Attributes:
        name: Name of the network.
        mult_adds: G, at a 1280x720 output.
        psnr: PSNR, dB.
        measured: Whether the PSNR was measured here; otherwise it is published.
        ours: Whether it is a RAMiT.
        training: Training images where they are not `USUAL`, or None.
        doubt: Whether it is not certain where the published figures come from.
    """

    name: str
    mult_adds: float
    psnr: float
    measured: bool
    ours: bool
    training: str | None = None
    doubt: bool = False


def draw_paper_figures(results: Results) -> dict[str, PaperFigure]:
    """Draw the figure of each image set that was measured as published figures are.

    Returns:
        Path below the folder of the report, without suffix, such as `plots/Set5_x2_all_networks` -> figure.
    """
    figures = {}
    safe = file_names(dataset.name for dataset in results.datasets)
    for dataset in results.datasets:
        entries, left_out = _entries(results, dataset)
        if dataset.comparable and len(entries) > 2 and any(entry.measured for entry in entries):
            title = f"{dataset.name}, x{results.scale}"
            with plain_settings():
                figure = draw_figure(entries, title)
                text = f"{title}: PSNR over Mult-Adds. {_describe(entries, left_out)}"
                path = f"plots/{safe[dataset.name]}_x{results.scale}_all_networks"
                figures[path] = PaperFigure(as_svg(figure, title), as_pdf(figure, title), text)
    return figures


def _entries(results: Results, dataset: SetQuality) -> tuple[list[Entry], list[str]]:
    """Networks of the figure, and the names of those left out since they restore worse than no network at all."""
    metric = psnr_metric(dataset.metrics) or ""
    entries, left_out, measured = [], [], []
    least = dataset.results[dataset.reference].average.get(metric, 0.0) if dataset.results else 0.0
    for network in results.networks:
        quality = dataset.results.get(network.name)
        psnr = quality.average.get(metric) if quality and not quality.out_of_memory else None
        if psnr is None or network.counts.mult_adds is None:
            continue
        if psnr < least:
            left_out.append(network.name)
            continue
        measured.append(network.published)
        ours = network.network_g.get("type") == OURS
        entries.append(Entry(network.name, network.counts.mult_adds / 1e9, psnr, measured=True, ours=ours))
    for name, known in results.literature.items():
        if dataset.name in known.sets and known not in measured:
            mult_adds = known.mult_adds if known.mult_adds is not None else _counted(results.networks, known)
            if mult_adds is None:
                continue
            entries.append(
                Entry(
                    name=name,
                    mult_adds=mult_adds / 1e9,
                    psnr=known.sets[dataset.name].psnr,
                    measured=False,
                    ours=name.startswith(OURS),
                    training=known.training if known.training != USUAL else None,
                    doubt=known.doubt is not None,
                )
            )
    return entries, left_out


def _counted(networks: Sequence[NetworkInfo], known: Any) -> float | None:
    """Mult-Adds counted here of the network whose published figures these are."""
    return next((network.counts.mult_adds for network in networks if network.published == known), None)


def draw_figure(entries: Sequence[Entry], title: str) -> Figure:
    """Draw PSNR over Mult-Adds.

    Args:
        entries: At least two networks.
        title: Title above the plot.

    Returns:
        The figure; `axes.texts` are the names of the networks, in order.
    """
    figure = Figure(figsize=(7, 5), dpi=PIXELS_PER_INCH)
    FigureCanvasAgg(figure)  # measures texts
    axes = figure.add_axes((0.09, 0.24, 0.89, 0.7))
    axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    axes.set_xlabel("Mult-Adds (G) at 1280x720 output, counted or as published")
    axes.set_ylabel("PSNR (dB)")
    _set_limits(axes, entries)
    tidy(axes)
    axes.grid(color=GRID, linewidth=0.6)
    for entry in sorted(entries, key=lambda entry: (entry.measured, entry.ours)):
        axes.plot(entry.mult_adds, entry.psnr, **_marker(entry))
    _name(axes, entries)
    _add_legend(figure, entries)
    return figure


def _set_limits(axes: Axes, entries: Sequence[Entry]) -> None:
    costs, values = [entry.mult_adds for entry in entries], [entry.psnr for entry in entries]
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.18, max(costs) * 1.25)
    span = max(max(values) - min(values), 0.05)
    axes.set_ylim(min(values) - 0.1 * span, max(values) + 0.1 * span)
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    decades = 10.0 ** np.arange(np.floor(np.log10(min(costs))), np.ceil(np.log10(max(costs))) + 1)
    ticks = [tick for tick in np.outer(decades, TICKS).ravel() if min(costs) / 1.18 <= tick <= max(costs) * 1.25]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _marker(entry: Entry) -> dict[str, Any]:
    color = COLORS[1] if entry.ours else COLORS[0] if entry.measured else "#777777"
    return {
        "linestyle": "none",
        "marker": "*" if entry.ours else "s" if entry.training else "o",
        "markersize": 13 if entry.ours else 7,
        "color": color,
        "markerfacecolor": color if entry.measured else "white",
        "markeredgecolor": color if not entry.measured else "white",
        "markeredgewidth": 0.6 if entry.measured else 1.3,
        "zorder": 4 if entry.ours else 3,
    }


def _name(axes: Axes, entries: Sequence[Entry]) -> None:
    """Write the names beside the markers, with a line to those farther away."""
    labels = [
        axes.annotate(
            f"{entry.name}{'*' if entry.doubt else ''}",
            (entry.mult_adds, entry.psnr),
            xytext=(0, 0),
            textcoords="offset points",
            verticalalignment="bottom",
            color=COLORS[1] if entry.ours else INK,
            fontweight="bold" if entry.ours else "normal",
            fontsize=9 if entry.ours else 8,
            zorder=5,
            parse_math=False,
        )
        for entry in entries
    ]
    radii = np.array([7.0 if entry.ours else 4.5 for entry in entries])
    place_names(axes, labels, radii, ["#AAAAAA"] * len(entries), near=NEAR, linewidth=0.6)


def _add_legend(figure: Figure, entries: Sequence[Entry]) -> None:
    """Explain the markers that there are, below the plot."""
    kinds = [
        (Entry(OURS, 1, 1, measured=True, ours=True), "RAMiT, measured"),
        (Entry(OURS, 1, 1, measured=False, ours=True), "RAMiT, published"),
        (Entry("", 1, 1, measured=True, ours=False), "measured"),
        (Entry("", 1, 1, measured=False, ours=False), f"published, trained on {USUAL} or not noted"),
        (Entry("", 1, 1, measured=False, ours=False, training="x"), "published, other training images"),
    ]
    there = {(entry.measured, entry.ours, bool(entry.training)) for entry in entries}
    handles = [
        Line2D([], [], label=label, **_marker(kind))
        for kind, label in kinds
        if (kind.measured, kind.ours, bool(kind.training)) in there
    ]
    if any(entry.doubt for entry in entries):
        handles.append(Line2D([], [], linestyle="none", label="* source or training images not certain"))
    figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=8)


def _describe(entries: Sequence[Entry], left_out: Sequence[str]) -> str:
    texts = []
    for entry in entries:
        facts = ["published"] if not entry.measured else []
        facts += [f"trained on {entry.training}"] if entry.training else []
        facts += ["source or training images not certain"] if entry.doubt else []
        remark = f" ({', '.join(facts)})" if facts else ""
        texts.append(f"{entry.name}: {entry.mult_adds:.4g} G, {entry.psnr:.2f} dB{remark}")
    without = f". Below the input enlarged, left out: {', '.join(left_out)}" if left_out else ""
    return f"{'; '.join(texts)}{without}."
