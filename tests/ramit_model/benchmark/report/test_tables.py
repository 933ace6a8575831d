"""The report's tables: what they say, and that each format can be read back."""

import math
from dataclasses import replace

import pytest
from benchmark_results import BASELINE, MCMASTER, METRICS, ODD, REFERENCE, WITHOUT_WEIGHTS, example_results

from ramit_model.benchmark.report.cost_tables import cost
from ramit_model.benchmark.report.published_tables import published
from ramit_model.benchmark.report.quality_tables import per_image, quality_table, significance
from ramit_model.benchmark.report.table import Table, Value
from ramit_model.benchmark.report.tables import overview
from ramit_model.benchmark.results import (
    CaseCost,
    Comparison,
    NetworkCost,
    NetworkQuality,
    PublishedSet,
    Results,
    SetQuality,
)


@pytest.fixture
def results() -> Results:
    return example_results()


def text(table: Table, row: str, header: str) -> str:
    """A cell as plain text, marks as `*`; `row` begins with this."""
    found = next(cells for cells in table.rows if cells[0] == row)
    cell = found[list(table.headers).index(header)]
    return cell if isinstance(cell, str) else " / ".join(f"{'*' * value.marked}{value.text}" for value in cell)


def one_set(values: dict[str, dict[str, float]], metrics: dict[str, dict[str, object]] = METRICS) -> SetQuality:
    """A set of one image; network -> metrics of it, the reference first."""
    results = {name: NetworkQuality({"a": found}, found, {}, {}) for name, found in values.items()}
    return SetQuality("one", ["a"], 1, metrics, REFERENCE, results, [])


def pairs(*images: int) -> SetQuality:
    """A set with a comparison for each number of images."""
    found = [Comparison("a", "b", count, 0.5, None, 0.5, 1.0) for count in images]
    return replace(one_set({REFERENCE: {"psnr": 30.0}}), comparisons=found)


def test_overview_tells_size_and_cost(results: Results) -> None:
    table = overview(results)
    assert [row[0] for row in table.rows] == [REFERENCE, BASELINE, ODD, WITHOUT_WEIGHTS]
    assert text(table, BASELINE, "Parameters, K") == "939.8"
    assert text(table, BASELINE, "Mult-Adds, G (1280x720)") == "163.42"
    assert text(table, BASELINE, "Activations, M") == "512.3"
    assert text(table, BASELINE, "Latency, ms") == "90.00"
    assert text(table, BASELINE, "Ratio") == "baseline"
    assert text(table, WITHOUT_WEIGHTS, "Ratio") == "2.000"
    assert [text(table, REFERENCE, header) for header in ("Parameters, K", "Latency, ms", "Ratio")] == ["-"] * 3


def test_overview_marks_the_best_network(results: Results) -> None:
    table = overview(results)
    assert text(table, BASELINE, "Set5 PSNR / SSIM") == "*37.0000 / 0.9520"
    assert text(table, ODD, "Set5 PSNR / SSIM") == "36.7500 / *0.9525"
    assert text(table, WITHOUT_WEIGHTS, "Set5 PSNR / SSIM") == "-"


def test_reference_is_never_marked() -> None:
    dataset = one_set({REFERENCE: {"psnr": 50.0}, "a": {"psnr": 30.0}, "b": {"psnr": 31.0}}, {"psnr": METRICS["psnr"]})
    table = quality_table(dataset)
    assert [text(table, name, "PSNR") for name in (REFERENCE, "a", "b")] == ["50.0000", "30.0000", "*31.0000"]


def test_average_over_fewer_images_is_neither_marked_nor_silent(results: Results) -> None:
    table = overview(results)
    assert text(table, BASELINE, "McMaster_sigma25 PSNR / SSIM") == "37.7500 / 0.9535"
    assert text(table, ODD, "McMaster_sigma25 PSNR / SSIM") == "37.6071 / 0.9542"
    notes = "\n".join(table.notes)
    assert f"McMaster_sigma25, {ODD}: average over 7 of 8 images; 1 ran out of memory." in notes
    assert "McMaster_sigma25: only 8 of 18 images were used." in notes


def test_values_that_round_to_the_best_share_the_mark() -> None:
    values = {REFERENCE: {"psnr": 29.0}, "a": {"psnr": 30.00001}, "b": {"psnr": 30.00002}, "c": {"psnr": 29.9}}
    table = quality_table(one_set(values, {"psnr": METRICS["psnr"]}))
    assert [text(table, name, "PSNR") for name in "abc"] == ["*30.0000", "*30.0000", "29.9000"]


def test_other_metrics_follow_and_may_be_better_when_lower() -> None:
    metrics = {"niqe": {"type": "calculate_niqe"}, "mine": {"type": "x", "better": "lower"}, "psnr": METRICS["psnr"]}
    low, high = {"psnr": 30.0, "niqe": 3.0, "mine": 1.0}, {"psnr": 31.0, "niqe": 4.0, "mine": 2.0}
    table = per_image(one_set({REFERENCE: low, "a": low, "b": high}, metrics))
    assert table.title == "PSNR / NIQE / mine of each image of one"
    assert text(table, "a", "a") == "30.0000 / *3.0000 / *1.0000"
    assert text(table, "a", "b") == "*31.0000 / 4.0000 / 2.0000"


def test_outputs_that_differ_are_told_per_network(results: Results) -> None:
    first = results.networks[0]
    changed = replace(first, counts=replace(first.counts, output=(640, 360)))
    table = overview(replace(results, networks=[changed, *results.networks[1:]]))
    assert text(table, BASELINE, "Mult-Adds, G") == "163.42 (640x360)"
    assert text(table, ODD, "Mult-Adds, G") == "250.50 (1280x720)"


def test_published_figures_stand_beside_measured_ones(results: Results) -> None:
    metrics, counts = published(results)
    assert metrics.rows == [
        [BASELINE, "Set5", "37.0000", "37.12", "-0.1200", "0.9520", "0.9512", "+0.0008"],
        [WITHOUT_WEIGHTS, "Set5", "-", "38.05", "-", "-", "0.9610", "-"],
    ]
    assert counts.rows == [
        [BASELINE, "939.8", "940", "-0.2", "163.42", "163.4", "+0.02"],
        [WITHOUT_WEIGHTS, "998.4", "998", "+0.4", "140.41", "140.4", "+0.01"],
    ]
    assert f"Published figures of {BASELINE}: RAMiT paper, table 2." in metrics.notes


def test_mult_adds_of_another_output_size_are_not_compared(results: Results) -> None:
    first = results.networks[0]
    networks = [replace(first, counts=replace(first.counts, output=(640, 360)))]
    _, counts = published(replace(results, networks=networks))
    assert counts.rows == [[BASELINE, "939.8", "940", "-0.2", "163.42", "163.4", "-"]]
    assert "640x360" in counts.notes[0]


def test_nothing_published_gives_no_table(results: Results) -> None:
    networks = [replace(network, published=None) for network in results.networks]
    assert published(replace(results, networks=networks)) == []


def test_cost_has_a_table_for_each_mode_and_device(results: Results) -> None:
    forward, train = cost(results)
    assert forward.title == "Forward pass on cpu"
    assert train.title == "Training step on cuda, tf32, contiguous, not compiled"
    assert forward.rows[1] == [
        *(ODD, "320x180 x 1", "float32", "contiguous", "not compiled"),
        *("180.0", "170.0 to 190.0", "0.500", "0.500 to 0.500", "5.556", "624.8"),
    ]
    assert train.headers[-1] == "Peak memory, GB"
    assert train.rows[2] == [
        *(WITHOUT_WEIGHTS, "64x64 x 16", "3.000", "2.750 to 3.250", "0.500", "0.500 to 0.500", "5.333", "25.00")
    ]


def test_failures_are_told_in_words(results: Results) -> None:
    forward, train = cost(results)
    assert train.rows[1] == [ODD, "64x64 x 16", "out of memory", "-", "-", "-", "-", "-"]
    assert text(replace(forward, rows=forward.rows[4:5]), ODD, "Median, ms") == "failed"
    assert any(ODD in note and "no C++ compiler was found" in note for note in forward.notes)


def test_case_in_which_all_failed(results: Results) -> None:
    case = results.costs[0].case
    (table,) = cost(replace(results, costs=[CaseCost(case, {BASELINE: NetworkCost("out of memory")})]))
    assert table.rows == [[BASELINE, "320x180 x 1", "out of memory", "-", "-", "-", "-", "-"]]


def test_each_image_has_a_row(results: Results) -> None:
    table = per_image(results.datasets[1])
    assert [row[0] for row in table.rows] == [*MCMASTER, "average"]
    assert text(table, "3", ODD) == "out of memory"
    assert text(table, "4", ODD) == "37.2500 / *0.9535"
    assert f"{ODD}: restored in tiles, for want of memory: 8." in table.notes


def test_significance_of_every_pair(results: Results) -> None:
    table = significance(results.datasets[1])
    assert table.rows[2] == [
        *(BASELINE, ODD, "7", "+0.2500", "+0.1500 to +0.3500", "0.0156"),
        (Value("0.0469", marked=True),),
    ]
    assert not any("smallest possible" in note for note in table.notes)


def test_only_p_after_the_correction_decides() -> None:
    dataset = replace(pairs(20), comparisons=[Comparison("a", "b", 20, 0.5, None, 0.03, p) for p in (0.06, 0.05, 0.04)])
    assert [row[-1][0].marked for row in significance(dataset).rows] == [False, False, True]


@pytest.mark.parametrize(("images", "p"), [(5, "0.0625"), (4, "0.125"), (1, "1")])
def test_too_few_images_are_told(images: int, p: str) -> None:
    notes = significance(pairs(images)).notes
    assert f"smallest possible two-sided p is 2/2^{images} = {p}, so nothing can be significant" in notes[-1]


def test_too_many_comparisons_are_told() -> None:
    assert "smallest possible p after Holm is 2 x 2/2^6 = 0.0625" in significance(pairs(6, 6)).notes[-1]
    assert len(significance(pairs(6)).notes) == 1
    assert len(significance(pairs(0)).notes) == 1


def test_what_is_missing_is_a_dash() -> None:
    dataset = one_set({REFERENCE: {"psnr": 30.0}, "a": {"psnr": math.nan}, "b": {}}, {"psnr": METRICS["psnr"]})
    dataset = replace(dataset, comparisons=[Comparison("a", "b", 0, 0.0, None, 1.0, 1.0)])
    assert [text(quality_table(dataset), name, "PSNR") for name in "ab"] == ["-", "-"]
    assert significance(dataset).rows == [["a", "b", "0", "-", "-", "-", "-"]]
    infinite = replace(dataset.comparisons[0], images=1, mean_difference=math.nan, p=math.nan, p_holm=math.nan)
    assert significance(replace(dataset, comparisons=[infinite])).rows == [
        ["a", "b", "1", "-", "-", "-", (Value("-"),)]
    ]


def test_published_figures_have_the_digits_that_they_have() -> None:
    results = example_results()
    known = replace(results.networks[0].published, sets={"Set5": PublishedSet(38.1837, 0.961232)})
    shown = {}
    for figures in (results.networks[0].published, known):
        network = replace(results.networks[0], published=figures)
        [table, *_] = published(replace(results, networks=[network]))
        shown[figures is known] = table.rows[0]
    assert (shown[False][3], shown[False][6]) == ("37.12", "0.9512")
    assert (shown[True][3], shown[True][6]) == ("38.1837", "0.961232")
    # What stands beside it has as many.
    assert [len(str(cell).partition(".")[2]) for cell in (shown[True][5], shown[True][7])] == [6, 6]
