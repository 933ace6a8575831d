"""The table of losses: appended to, gone on with, and read back."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramit_model.system.errors import InputError
from ramit_model.training.training_table import TrainingTable, read_rows

NUMBERS = st.integers(-1000, 1000).map(lambda number: number / 8)
LOSSES = st.dictionaries(st.sampled_from(["l_pix", "l_fft", "a, b"]), NUMBERS)


def row(iteration: int, **losses: float) -> dict[str, float]:
    return {"iteration": iteration, "rate": 0.001, "seconds": 0.5, "data_seconds": 0.25, **losses}


def test_the_file(tmp_path: Path) -> None:
    table = TrainingTable(tmp_path / "training.csv")
    assert not table.path.exists()
    table.add(row(100, l_pix=0.125))
    table.add(row(200, l_pix=1e-9))
    assert table.path.read_text() == (
        "iteration,rate,seconds,data_seconds,l_pix\n100,0.001,0.5,0.25,0.125\n200,0.001,0.5,0.25,1e-09\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["training.csv"]


@given(losses=st.lists(LOSSES, min_size=1, max_size=8), last=st.integers(0, 9), more=LOSSES)
@settings(max_examples=30)
def test_a_resumed_training_continues_it(
    tmp_path_factory: pytest.TempPathFactory, losses: list[dict[str, float]], last: int, more: dict[str, float]
) -> None:
    """Also with other losses than before."""
    path = tmp_path_factory.mktemp("table") / "training.csv"
    rows = [row(number, **values) for number, values in enumerate(losses, 1)]
    table = TrainingTable(path)
    for values in rows:
        table.add(values)
    assert list(read_rows(path)) == rows
    rows = [*rows[:last], row(10, **more)]
    TrainingTable(path, last).add(rows[-1])
    assert list(read_rows(path)) == rows


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    table = TrainingTable(tmp_path / "training.csv")
    for iteration in (1, 2, 3):
        table.add(row(iteration, l_pix=0.5))
    content = table.path.read_bytes()
    table.path.write_bytes(content[:-cut])
    assert list(read_rows(table.path)) == [row(1, l_pix=0.5), row(2, l_pix=0.5)]
    TrainingTable(table.path, 3).add(row(3, l_pix=0.5))
    assert table.path.read_bytes() == content


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "content",
    [b"", b"iteration,loss\n1,2\n", b"iteration,rate,seconds,data_seconds\n1,2,3\n1,2,3,4\n", b"\xff\xfe\n", b"\0\n"],
    ids=["empty", "other columns", "fewer cells", "no text", "zeros"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "training.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"training\.csv: not a table of losses; repair or remove it"):
        TrainingTable(path, 5)
    assert path.read_bytes() == content
