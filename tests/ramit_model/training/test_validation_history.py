"""The measurements of a training: written, read back and gone on with."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from ramit_model.system.errors import InputError
from ramit_model.training.expectation import Expected
from ramit_model.training.validation_history import Measurement, ValidationHistory, validation_line


@pytest.fixture
def history(tmp_path: Path) -> ValidationHistory:
    """Two sets, measured at iterations 4, 8 and 12."""
    history = ValidationHistory(tmp_path / "validation.csv")
    for iteration in (4, 8, 12):
        history.add(iteration, "Set5", {"psnr": 30 + iteration / 7, "ssim": 0.9})
        history.add(iteration, "Set14", {"psnr": 28 + iteration / 7, "ssim": 0.8})
    return history


def test_the_file(tmp_path: Path) -> None:
    history = ValidationHistory(tmp_path / "validation.csv")
    assert not history.path.exists()
    history.add(4, "Set5", {"psnr": 30.25, "ssim": 0.875})
    history.add(4, "a, b", {"psnr": 1e-7})
    assert history.path.read_text() == (
        'iteration,dataset,metric,value\n4,Set5,psnr,30.25\n4,Set5,ssim,0.875\n4,"a, b",psnr,1e-07\n'
    )
    assert history.rows[0] == Measurement(4, "Set5", "psnr", 30.25)
    assert [path.name for path in tmp_path.iterdir()] == ["validation.csv"]


def test_a_spreadsheet_reads_it(history: ValidationHistory) -> None:
    with history.path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {row["dataset"] for row in rows} == {"Set5", "Set14"}
    assert float(rows[-2]["value"]) == 28 + 12 / 7


@pytest.mark.parametrize(("last", "kept"), [(0, 0), (3, 0), (4, 4), (11, 8), (12, 12), (500, 12)])
def test_reading_up_to_an_iteration(history: ValidationHistory, last: int, kept: int) -> None:
    again = ValidationHistory(history.path)
    again.read(last)
    assert again.rows == history.rows[:kept]


def test_a_resumed_training_goes_on(history: ValidationHistory) -> None:
    """What came after the checkpoint is measured again, and stands there once."""
    again = ValidationHistory(history.path)
    again.read(8)
    again.add(12, "Set5", {"psnr": 35.0, "ssim": 0.95})
    third = ValidationHistory(history.path)
    third.read(100)
    assert third.rows == [*history.rows[:8], (12, "Set5", "psnr", 35.0), (12, "Set5", "ssim", 0.95)]


def test_no_file_is_an_empty_history(tmp_path: Path) -> None:
    history = ValidationHistory(tmp_path / "validation.csv")
    history.read(100)
    assert history.rows == []
    assert not history.path.exists()


def test_an_empty_file_is_an_empty_history(tmp_path: Path) -> None:
    (tmp_path / "validation.csv").touch()
    history = ValidationHistory(tmp_path / "validation.csv")
    history.read(100)
    assert history.rows == []


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1) | st.sampled_from(['a,"b"', "Set 5", "é"])


@st.composite
def measurements(draw: DrawFn) -> tuple[int, str, dict[str, float]]:
    averages = st.dictionaries(names, st.floats(allow_nan=False), min_size=1, max_size=3)
    return draw(st.integers(1, 10**7)), draw(names), draw(averages)


@settings(max_examples=25)  # each writes to the disk
@given(st.lists(measurements(), min_size=1, max_size=5))
def test_any_name_and_any_number(tmp_path_factory: pytest.TempPathFactory, content: list) -> None:
    """Digit for digit."""
    history = ValidationHistory(tmp_path_factory.mktemp("history") / "validation.csv")
    for one in content:
        history.add(*one)
    again = ValidationHistory(history.path)
    again.read(10**7)
    assert again.rows == history.rows


FILES = {
    "another table": b"image,psnr\nbaby,38.1\n",
    "cut": b"iteration,dataset,metric,value\n4,Set5,psnr,30.25\n4,Set5",
    "no number": b"iteration,dataset,metric,value\n4,Set5,psnr,good\n",
    "no iteration": b"iteration,dataset,metric,value\n4.5,Set5,psnr,30\n",
    "no text": b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe\n\xff\n",
    "zeros": b"iteration,dataset,metric,value\n" + bytes(100),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_history(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "validation.csv"
    path.write_bytes(FILES[kind])
    with pytest.raises(InputError) as caught:
        ValidationHistory(path).read(100)
    assert str(caught.value) == f"{path}: not a table of measurements; repair or remove it"
    assert path.read_bytes() == FILES[kind]


def test_the_line_of_a_validation() -> None:
    best = {"psnr": {"val": 31.5, "iter": 500}, "ssim": {"val": 0.75, "iter": 1000}}
    averages = {"psnr": 31.25, "ssim": 0.75}
    measured = "psnr 31.2500 (best: 31.5000 at 500)", "ssim 0.7500"
    assert validation_line("a", 1000, averages, best) == f"validation at 1,000, a: {', '.join(measured)}"
    expected = [Expected(500, "a", "psnr", 30.0, 1.0), Expected(1000, "a", "psnr", 32.0, 0.5)]
    beside = f"{measured[0]} (expected: 32.00 ± 0.50), {measured[1]}"
    assert validation_line("a", 1000, averages, best, expected) == f"validation at 1,000, a: {beside}"
    assert "expected" not in validation_line("b", 1000, averages, best, expected)
    assert validation_line("a", "test", averages, best) == "a: psnr 31.2500, ssim 0.7500"
