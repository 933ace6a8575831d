"""The picture of a training: what is drawn, and how much of it."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import pytest
from matplotlib.axes import Axes

from ramit_model.training.expectation import Expected
from ramit_model.training.learning_curve import POINTS, averaged_lines, draw_learning_curve
from ramit_model.training.training_table import TrainingTable
from ramit_model.training.validation_history import Measurement, ValidationHistory

SETS = ("Set5", "写真 $a_b$")


def write_table(path: Path, count: int) -> Path:
    table = TrainingTable(path)
    for iteration in range(1, count + 1):
        times = {"seconds": 1.0, "data_seconds": 0.0}
        table.add(
            {
                "iteration": iteration,
                "rate": 1 / iteration,
                **times,
                "l_pix": 2.0 * iteration,
                "l_fft": 1.0,
                "skipped": 3,
            }
        )
    return path


@pytest.fixture
def measurements() -> list[Measurement]:
    return [
        Measurement(iteration, dataset, metric, iteration + start)
        for iteration in (0, 10, 20)
        for dataset in SETS
        for metric, start in (("psnr", 30), ("ssim", 0.5))
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[float], list[float]]]:
    """Label, iterations and values of every line that is drawn."""
    lines: list[tuple[str, list[float], list[float]]] = []
    plot = Axes.plot

    def noted(axes: Axes, *data: Any, **style: Any) -> Any:
        lines.append((style.get("label", "rate"), *map(list, data)))
        return plot(axes, *data, **style)

    monkeypatch.setattr(Axes, "plot", noted)
    return lines


def test_everything_is_in_the_picture(
    tmp_path: Path, measurements: list[Measurement], drawn: list[tuple[str, list[float], list[float]]]
) -> None:
    table = write_table(tmp_path / "training.csv", 20)
    (tmp_path / "before").mkdir()
    before = ValidationHistory(tmp_path / "before/validation.csv")
    before.add(15, "Set5", {"psnr": 41.0, "niqe": 3.0})
    picture = tmp_path / "learning_curve.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_learning_curve("mine", table, measurements, before.path.parent, picture)
    assert cv2.imread(str(picture)).shape[:2] == (800, 800)
    iterations = [float(number) for number in range(1, 21)]
    assert drawn == [
        ("pix", iterations, [2.0 * number for number in iterations]),
        ("fft", iterations, [1.0] * 20),
        ("Set5: 50.0000", [0, 10, 20], [30, 40, 50]),
        ("Set5, before", [15], [41.0]),
        (r"写真 \$a_b\$: 50.0000", [0, 10, 20], [30, 40, 50]),
        ("Set5: 20.5000", [0, 10, 20], [0.5, 10.5, 20.5]),
        (r"写真 \$a_b\$: 20.5000", [0, 10, 20], [0.5, 10.5, 20.5]),
        ("rate", iterations, pytest.approx([1 / number for number in iterations])),
    ]


def test_what_is_expected_is_a_band(
    tmp_path: Path, measurements: list[Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    bands: list[tuple[Any, ...]] = []
    fill = Axes.fill_between

    def noted(axes: Axes, *data: Any, **style: Any) -> Any:
        bands.append((axes.get_ylabel(), style["label"], *data))
        return fill(axes, *data, **style)

    monkeypatch.setattr(Axes, "fill_between", noted)
    expected = [
        Expected(iteration, SETS[0], "psnr", value, 0.5) for iteration, value in ((10, 39.0), (20, 51.0), (30, 60.0))
    ]
    picture = tmp_path / "curve.png"
    draw_learning_curve("x", tmp_path / "missing.csv", measurements, None, picture, expected)
    assert bands == [("psnr", "Set5, expected", [10, 20, 30], [38.5, 50.5, 59.5], [39.5, 51.5, 60.5])]


def test_without_losses_and_with_losses_below_zero(tmp_path: Path, measurements: list[Measurement]) -> None:
    picture = tmp_path / "curve.png"
    draw_learning_curve("x", tmp_path / "missing.csv", measurements, None, picture)
    nothing = picture.read_bytes()
    table = TrainingTable(tmp_path / "training.csv")
    for iteration in (1, 2):
        times = {"rate": 0.1, "seconds": 1.0, "data_seconds": 0.0}
        table.add({"iteration": iteration, **times, "l_percep": iteration - 1.5})
    draw_learning_curve("x", table.path, [], None, picture)
    assert picture.read_bytes() != nothing


@pytest.mark.parametrize("count", [1, POINTS, POINTS + 1, 3 * POINTS + 2])
def test_long_tables_are_averaged(tmp_path: Path, count: int) -> None:
    lines = averaged_lines(write_table(tmp_path / "training.csv", count))
    iterations, losses = lines["l_pix"]
    group = -(-count // POINTS)
    assert len(iterations) == -(-count // group) <= POINTS
    assert iterations[-1] == count
    first = list(range(1, group + 1))
    assert losses[0] == pytest.approx(2 * sum(first) / len(first))
    assert set(lines["l_fft"][1]) == {1.0}
