"""Figure for papers: which networks are in it, from where their numbers are, and that the names can be read."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations

import pytest
from benchmark_results import BASELINE, ODD, WITHOUT_WEIGHTS, example_results

from ramit_model.benchmark import published
from ramit_model.benchmark.report.paper_figure import PaperFigure, _entries, draw_figure, draw_paper_figures
from ramit_model.benchmark.report.plot_style import plain_settings
from ramit_model.benchmark.results import Published, PublishedSet, Results

OTHER = Published("Other paper", 500_000, 90e9, {"Set5": PublishedSet(37.5, 0.95)}, training="DF2K", doubt="a guess")
UNCOUNTED = Published("Third paper", None, None, {"Set5": PublishedSet(37.6, 0.95)}, training="DIV2K")
ELSEWHERE = Published("Fourth paper", 1, 1e9, {"Urban100": PublishedSet(30.0, 0.9)})


@pytest.fixture(scope="module")
def results() -> Results:
    """What was measured as published figures are, and the literature: two of the networks, and others."""
    found = example_results()
    first, _, third = found.networks
    assert first.published is not None
    assert third.published is not None
    literature = {
        "slim": first.published,
        "N": third.published,
        "other": OTHER,
        "uncounted": UNCOUNTED,
        "elsewhere": ELSEWHERE,
    }
    dataset = replace(found.datasets[0], comparable=True)
    return replace(found, datasets=[dataset], literature=literature)


@pytest.fixture(scope="module")
def figures(results: Results) -> dict[str, PaperFigure]:
    return draw_paper_figures(results)


def test_measured_go_before_published(results: Results, figures: dict[str, PaperFigure]) -> None:
    entries, left_out = _entries(results, results.datasets[0])
    assert left_out == []
    # Without weights it was not measured: its published figures stand for it. Of others, Mult-Adds must be known.
    assert [(entry.name, entry.psnr, entry.measured) for entry in entries] == [
        (BASELINE, 37.0, True),
        (ODD, 36.75, True),
        ("N", 38.05, False),
        ("other", 37.5, False),
    ]
    assert [entry.mult_adds for entry in entries] == pytest.approx([163.42, 250.5, 140.4, 90])
    assert [entry.ours for entry in entries] == [True, False, False, False]
    assert figures["plots/Set5_x2_all_networks"].text == (
        "Set5, x2: PSNR over Mult-Adds. RAMiT-slimSR: 163.4 G, 37.00 dB; R&D <net>_x: 250.5 G, 36.75 dB; "
        "N: 140.4 G, 38.05 dB (published); "
        "other: 90 G, 37.50 dB (published, trained on DF2K, source or training images not certain)."
    )


def test_counts_of_a_network_stand_for_unknown_published_ones(results: Results) -> None:
    third = results.networks[2]
    unknown = replace(third.published, mult_adds=None)
    networks = [*results.networks[:2], replace(third, published=unknown)]
    changed = replace(results, networks=networks, literature={WITHOUT_WEIGHTS: unknown})
    entries, _ = _entries(changed, results.datasets[0])
    assert [entry.mult_adds for entry in entries if not entry.measured] == pytest.approx([140.41])


def test_untrained_networks_are_left_out(results: Results) -> None:
    dataset = results.datasets[0]
    poor = replace(dataset.results[ODD], average={"psnr": 8.0, "ssim": 0.1})
    changed = replace(results, datasets=[replace(dataset, results={**dataset.results, ODD: poor})])
    (figure,) = draw_paper_figures(changed).values()
    assert figure.text.endswith(f". Below the input enlarged, left out: {ODD}.")
    assert "250.5 G" not in figure.text


def test_only_sets_measured_as_published_have_a_figure(results: Results) -> None:
    assert draw_paper_figures(example_results()) == {}
    assert draw_paper_figures(replace(results, literature={})) == {}


def test_files(results: Results, figures: dict[str, PaperFigure]) -> None:
    assert list(figures) == ["plots/Set5_x2_all_networks"]
    (figure,) = figures.values()
    assert ET.fromstring(figure.svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert figure.pdf.startswith(b"%PDF")
    assert b"CreationDate" not in figure.pdf
    assert draw_paper_figures(results) == figures


@pytest.mark.parametrize("name", ["Set5", "Urban100", "Manga109"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_names_of_the_literature_do_not_overlap(name: str, scale: int) -> None:
    found = example_results()
    literature = published.at_scale(scale)
    dataset = replace(found.datasets[0], name=name, results={}, comparable=True)
    entries, _ = _entries(replace(found, literature=literature), dataset)
    assert len(entries) == sum(known.mult_adds is not None and name in known.sets for known in literature.values())
    with plain_settings():
        figure = draw_figure(entries, name)
        (axes,) = figure.axes
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in axes.texts]
        frame = axes.get_window_extent()
        (legend,) = figure.legends
        explained = legend.get_window_extent()
        beside = axes.xaxis.label.get_window_extent()
    assert 0 <= explained.x0 < explained.x1 <= figure.bbox.x1
    assert 0 <= explained.y0 < explained.y1 <= beside.y0
    assert len(boxes) == len(entries)
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
