"""The CSV holds every number."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_results import BASELINE, METRICS, ODD, REFERENCE, SET5, WITHOUT_WEIGHTS, example_results

from ramit_model.benchmark.report.long_format import CsvRow, csv_rows, write_csv
from ramit_model.benchmark.results import (
    Results,
)


@pytest.fixture
def results() -> Results:
    return example_results()


def test_csv_reads_back_as_it_was(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write_csv(path, results)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(CsvRow._fields)
    assert len(rows) == len(csv_rows(results))

    def value(**wanted: str) -> str:
        (row,) = [row for row in rows if wanted.items() <= row.items()]
        return row["value"]

    assert value(section="counts", network=BASELINE, quantity="parameters") == "939793"
    assert value(section="published", network=BASELINE, dataset="Set5", quantity="psnr", unit="dB") == "37.12"
    for dataset in results.datasets:
        for name, quality in dataset.results.items():
            key = {"network": name, "dataset": dataset.name}
            for metric in METRICS:
                assert float(value(section="average", quantity=metric, **key)) == quality.average[metric]
                for image, found in quality.images.items():
                    assert float(value(section="image", image=image, quantity=metric, **key)) == found[metric]
    case = "forward 320x180, float32, cpu"
    runs = [float(value(network=ODD, case=case, quantity=f"run {i}", unit="s")) for i in (1, 2, 3)]
    assert runs == [0.160, 0.200, 0.180]
    assert value(network=ODD, case=case, quantity="peak memory", unit="bytes") == "624800000"
    assert value(network=ODD, quantity="failure", case="train 16 x 64x64, tf32, cuda") == ("out of memory")
    assert float(value(section="comparison", dataset="Set5", network=f"{BASELINE} less {ODD}", quantity="p")) == 0.0625


def test_csv_has_no_row_for_what_is_missing(results: Results) -> None:
    rows = csv_rows(results)
    quantities = {(row.network, row.case.split(" ")[0], row.quantity) for row in rows}
    assert (WITHOUT_WEIGHTS, "train", "peak memory") in quantities
    assert (ODD, "train", "median") not in quantities
    first = results.datasets[0]
    broken = replace(first, results={REFERENCE: replace(first.results[REFERENCE], average={"psnr": math.nan})})
    rows = csv_rows(replace(results, networks=[], costs=[], datasets=[replace(broken, comparisons=[])]))
    averages = [row.quantity for row in rows if row.section == "average"]
    assert averages == ["images", "psnr interval low", "psnr interval high"]
    assert len([row for row in rows if row.section == "image"]) == 2 * len(SET5)
