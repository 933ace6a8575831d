"""Plots: which there are, that their texts can be read, and that the same results give the same files."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from benchmark_results import BASELINE, ODD, WITHOUT_WEIGHTS, example_results
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_rgba

from ramit_model.benchmark.report.labels import place_labels
from ramit_model.benchmark.report.plot_style import color_of
from ramit_model.benchmark.report.plots import draw_plots
from ramit_model.benchmark.report.scatter import Point, draw_points
from ramit_model.benchmark.report.speed_bars import draw_speed
from ramit_model.benchmark.results import Case, PublishedSet, Results

SET5 = [f"plots/Set5_psnr_over_{cost}.svg" for cost in ("mult_adds", "latency_cpu", "parameters")]


@pytest.fixture(scope="module")
def plots() -> dict[str, tuple[bytes, str]]:
    return draw_plots(example_results())


def with_set5(results: Results, /, **changes: object) -> Results:
    return replace(results, datasets=[replace(results.datasets[0], **changes)])


def points_of(results: Results, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Point]]:
    """File -> network -> point, as they would be drawn."""
    drawn: list[dict[str, Point]] = []

    def record(points: list[Point], **_: object) -> matplotlib.figure.Figure:
        drawn.append({point.name: point for point in points})
        return matplotlib.figure.Figure()

    monkeypatch.setattr("ramit_model.benchmark.report.plots.draw_points", record)
    files = [file for file in draw_plots(results) if file != "plots/speed.svg"]
    return dict(zip(files, drawn, strict=True))


def crowd(count: int, spread: float) -> list[Point]:
    """Points with names of 20 letters, nearly or wholly in the same place."""
    places = np.random.default_rng(0).uniform(-spread, spread, (count, 2))
    return [
        Point(f"network-{i:02d}-of-{count:02d}-xxxx", 150 + x, 38.1 + y / 100, i % 3 == 0, 900_000 - 10_000 * i, i)
        for i, (x, y) in enumerate(places)
    ]


# On McMaster only one network restored all images: that is nothing to compare.
def test_which_plots_there_are(plots: dict[str, tuple[bytes, str]]) -> None:
    assert list(plots) == [*SET5, "plots/speed.svg"]


def test_svg_is_valid_and_has_neither_date_nor_fonts(plots: dict[str, tuple[bytes, str]]) -> None:
    for content, _ in plots.values():
        root = ET.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not list(root.iter("{http://www.w3.org/2000/svg}text"))
        assert b"dc:date" not in content
        assert not re.search(rb"\b20\d\d-\d\d-\d\d", content)
        assert b"Matplotlib v" not in content


def test_same_results_give_the_same_bytes_whatever_the_settings(plots: dict[str, tuple[bytes, str]]) -> None:
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "none", "axes.grid": True, "lines.linewidth": 5}):
        assert draw_plots(example_results()) == plots
        assert matplotlib.rcParams["font.size"] == 20


def test_alternative_text_tells_the_values(plots: dict[str, tuple[bytes, str]]) -> None:
    assert plots[SET5[0]][1] == (
        "Set5: PSNR on Y, 2 pixels cropped, over Mult-Adds (G) at 1280x720 output. "
        "RAMiT-slimSR: 163.4, 37.00 dB; R&D <net>_x: 250.5, 36.75 dB; NGswin: 140.4, 38.05 dB (published)."
    )
    speed = plots["plots/speed.svg"][1]
    assert "forward 320x180, float32, cpu: RAMiT-slimSR 1.00x, R&D <net>_x 0.50x, NGswin 2.00x" in speed
    assert "forward 4 x 320x180, bfloat16, cpu, channels last, compiled: " in speed
    assert "out of memory" in speed


def test_costs_have_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(example_results(), monkeypatch)
    assert [points[file][BASELINE].x for file in SET5] == pytest.approx([163.42, 90, 939.793])


def test_slow_networks_are_timed_in_seconds() -> None:
    results = example_results()
    case = results.costs[0]
    slow = {name: replace(cost, median=cost.median * 100) for name, cost in case.networks.items()}
    text = draw_plots(replace(results, costs=[replace(case, networks=slow)]))[SET5[1]][1]
    assert "Latency (s), forward 320x180, float32, cpu. RAMiT-slimSR: 9," in text


def test_first_forward_case_of_each_device_is_drawn() -> None:
    results = example_results()
    cuda = [
        replace(results.costs[0], case=Case("forward", "cuda", precision, "contiguous", False, 640, 360, 1))
        for precision in ("bfloat16", "float32")
    ]
    plots = draw_plots(replace(results, costs=[*results.costs, *cuda]))
    assert "640x360, bfloat16, cuda" in plots["plots/Set5_psnr_over_latency_cuda.svg"][1]
    assert "320x180, float32, cpu" in plots[SET5[1]][1]


def test_measured_psnr_goes_before_published(monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(example_results(), monkeypatch)[SET5[0]]
    assert points[BASELINE].psnr == 37
    assert {name: point.published for name, point in points.items()} == {
        BASELINE: False,
        ODD: False,
        WITHOUT_WEIGHTS: True,
    }


@pytest.mark.parametrize("change", ["fewer images", "other metrics"])
def test_published_psnr_is_left_out_where_it_cannot_be_compared(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = example_results()
    dataset = results.datasets[0]
    if change == "fewer images":
        results = with_set5(results, image_count=14)
        assert "2 pixels cropped, 5 of 14 images" in draw_plots(results)[SET5[0]][1]
    else:
        quality = {name: replace(quality, difference={}) for name, quality in dataset.results.items()}
        results = with_set5(results, results=quality)
    assert list(points_of(results, monkeypatch)[SET5[0]]) == [BASELINE, ODD]


def test_all_published(monkeypatch: pytest.MonkeyPatch) -> None:
    results = example_results()
    networks = [
        replace(network, published=replace(results.networks[0].published, sets={"Set5": PublishedSet(37 + i, 0.95)}))
        for i, network in enumerate(results.networks)
    ]
    results = with_set5(replace(results, networks=networks), results={})
    text = draw_plots(results)[SET5[0]][1]
    assert text.startswith("Set5: published PSNR, over Mult-Adds (G)")
    assert all(point.published for point in points_of(results, monkeypatch)[SET5[0]].values())


def test_nothing_to_show_gives_no_plots() -> None:
    results = example_results()
    assert draw_plots(replace(results, datasets=[], costs=[])) == {}
    uncounted = [replace(network, counts=replace(network.counts, mult_adds=None)) for network in results.networks]
    assert list(draw_plots(replace(results, networks=uncounted))) == [*SET5[1:], "plots/speed.svg"]
    unpublished = [replace(network, published=None) for network in results.networks]
    results = replace(results, networks=unpublished, costs=[])
    assert len(draw_plots(results)) == 2
    assert draw_plots(with_set5(results, metrics={"ssim": {"type": "calculate_ssim"}})) == {}


def test_file_names_are_safe_and_different() -> None:
    results = example_results()
    names = ["a/b", "A b", "../a?b"]
    sets = [replace(results.datasets[0], name=name) for name in names]
    files = [file for file in draw_plots(replace(results, datasets=sets, costs=[])) if "mult_adds" in file]
    assert files == [f"plots/{name}_psnr_over_mult_adds.svg" for name in ("a_b", "A_b_2", "_a_b")]


@pytest.mark.parametrize(("count", "spread"), [(2, 0), (5, 0), (8, 0), (8, 0.001), (8, 3), (12, 5)])
def test_names_cover_nothing(count: int, spread: float) -> None:
    points = crowd(count, spread)
    with matplotlib.rc_context({"font.family": ["DejaVu Sans"], "font.size": 9}):
        figure = draw_points(points, title="Set5", x_label="Mult-Adds (G)", sized=True)
        axes = figure.axes[0]
        assert [text.get_text() for text in axes.texts] == [point.name for point in points]
        boxes = [text.get_window_extent() for text in axes.texts]
        frame = axes.get_window_extent()
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
    for scatter in axes.collections:
        centre = axes.transData.transform(scatter.get_offsets()[0])
        radius = np.sqrt(scatter.get_sizes()[0]) / 2
        for box in boxes:
            assert np.hypot(*(np.clip(centre, box.min, box.max) - centre)) > radius


def test_a_lone_name_is_right_of_its_marker() -> None:
    corner = place_labels(np.array([[200.0, 150]]), np.array([8.0]), np.array([[60.0, 12]]), (0, 0, 500, 300))[0]
    assert corner == pytest.approx([212, 144])
    corner = place_labels(np.array([[480.0, 150]]), np.array([8.0]), np.array([[60.0, 12]]), (0, 0, 500, 300))[0]
    assert corner == pytest.approx([408, 144])


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, (4, 2), elements=st.floats(60, 240)))
def test_four_short_names_always_find_places(centres: np.ndarray) -> None:
    sizes = np.full((4, 2), (40.0, 10.0))
    corners = place_labels(centres, np.full(4, 6.0), sizes, (0, 0, 300, 300))
    for one, other in combinations(corners, 2):
        assert (np.abs(one - other) >= sizes[0]).any()
    assert ((corners >= 0) & (corners + sizes <= 300)).all()


def test_far_names_are_joined_by_lines() -> None:
    near = draw_points(crowd(2, 5), title="", x_label="", sized=False)
    far = draw_points(crowd(8, 0), title="", x_label="", sized=False)
    assert (len(near.axes[0].lines), len(far.axes[0].lines)) == (0, 8)


def test_published_points_are_hollow_and_areas_grow_with_parameters() -> None:
    points = [Point(f"net{i}", 10.0 * i, 38, i == 1, 400_000 * i, i) for i in (1, 2)]
    figure = draw_points(points, title="", x_label="", sized=True)
    large, small = figure.axes[0].collections
    assert large.get_sizes()[0] == 2 * small.get_sizes()[0]
    assert (len(large.get_facecolor()), len(small.get_facecolor())) == (1, 0)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["measured", "published", "area: parameters, this is 800K"]
    plain = draw_points([replace(point, published=False) for point in points], title="", x_label="", sized=False)
    assert not plain.legends


def test_speed() -> None:
    figure = draw_speed(example_results())
    assert figure is not None
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1, 0.5, 2, 1, 2, 1, 0.5])
    texts = [text.get_text() for text in axes.texts]
    assert texts[:3] == ["forward 320x180, float32, cpu", "1.00x", "90.0 ms"]
    assert "out of memory" in texts
    assert "torch.compile raised BackendCompilerFailed: no C++ compiler was found" in texts
    width = figure.get_window_extent().width
    assert all(text.get_window_extent().x1 <= width for text in axes.texts)


def test_long_failures_are_cut() -> None:
    results = example_results()
    failed = replace(results.costs[1].networks[ODD], failure="no\n" * 200)
    costs = [replace(case, networks={**case.networks, ODD: failed}) for case in results.costs]
    figure = draw_speed(replace(results, costs=costs))
    assert figure is not None
    text = next(text for text in figure.axes[0].texts if text.get_text().startswith("no "))
    assert text.get_text().endswith("…")
    assert text.get_window_extent().x1 <= figure.get_window_extent().width


def test_no_ratios_no_speed() -> None:
    results = example_results()
    costs = [
        replace(case, networks={name: replace(cost, ratio=None) for name, cost in case.networks.items()})
        for case in results.costs
    ]
    assert draw_speed(replace(results, costs=costs)) is None
    assert draw_speed(replace(results, costs=[])) is None


def test_networks_keep_their_colors_without_the_others() -> None:
    results = example_results()
    network = results.networks[1]
    cost = replace(results.costs[0], networks={network.name: results.costs[0].networks[network.name]})
    for kept in (results, replace(results, networks=[network], costs=[cost], baseline="")):
        figure = draw_speed(kept)
        assert figure is not None
        assert to_rgba(color_of(network.number)) in {bar.get_facecolor() for bar in figure.axes[0].patches}
