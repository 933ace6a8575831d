"""The files of a report: all there, whole, and with the numbers as they are."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmark_results import BASELINE, ODD, REFERENCE, example_results

from ramit_model.benchmark.report import report
from ramit_model.benchmark.report.report import write_report
from ramit_model.benchmark.results import Results

STRIP = "strips/Set5_butterfly.png"
TEXTS = {"results.json", "results.csv", "report.md", "report.tex", "report.html"}
PNG = b"\x89PNG\r\n\x1a\n of a strip"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_json(value: Any) -> Any:
    """Plain data as a JSON file gives it back."""
    return json.loads(json.dumps(value))


def test_every_file(tmp_path: Path) -> None:
    results = example_results()
    write_report(results, {STRIP: PNG}, tmp_path / "new" / "out")
    written = files(tmp_path / "new" / "out")
    assert written[STRIP] == PNG
    plots = [name for name in written if name.startswith("plots/")]
    assert any(name.endswith(".svg") for name in plots)
    assert written.keys() - set(plots) == {*TEXTS, STRIP}
    for name in plots:
        if name.endswith(".svg"):
            ElementTree.fromstring(written[name])
    assert all(written.values())
    assert len(list(csv.reader(written["results.csv"].decode().splitlines()))) > 20
    # Again, over what is there.
    write_report(results, {STRIP: PNG}, tmp_path / "new" / "out")
    assert files(tmp_path / "new" / "out").keys() == written.keys()


def test_the_numbers_are_all_there(tmp_path: Path) -> None:
    results = example_results()
    write_report(results, {STRIP: PNG}, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == as_json(asdict(results))


def test_without_strips_and_data(tmp_path: Path) -> None:
    write_report(replace(example_results(), strips=[], datasets=[]), {}, tmp_path)
    assert "strips" not in {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "results.json").read_text())["datasets"] == []
    write_report(replace(example_results(), strips=[], costs=[]), {}, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["costs"] == []


def perfect() -> Results:
    """One image was restored without any error."""
    results = example_results()
    quality = results.datasets[0].results[BASELINE]
    quality.images["bird"]["psnr"] = quality.average["psnr"] = float("inf")
    return results


def test_a_perfect_result(tmp_path: Path) -> None:
    """JSON knows no infinity."""
    write_report(perfect(), {STRIP: PNG}, tmp_path)
    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    found = read["datasets"][0]["results"]
    assert (found[BASELINE]["images"]["bird"]["psnr"], found[BASELINE]["average"]["psnr"]) == ("inf", "inf")
    assert all(isinstance(found[name]["average"]["psnr"], float) for name in (REFERENCE, ODD))


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(example_results(), {STRIP: PNG}, tmp_path)
    before = files(tmp_path)

    def broken(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "page", broken)
    with pytest.raises(OSError, match="No space left"):
        write_report(replace(example_results(), name="another"), {STRIP: PNG + b"!"}, tmp_path)
    # All is written out first, so that a report is never made of two.
    assert files(tmp_path) == before
