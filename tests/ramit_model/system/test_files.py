"""Atomic writing, and journals that a kill cut short."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramit_model.system.files import JsonLines, remove_leftovers, write_atomically, write_csv_atomically


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def opened(path: Path) -> tuple[JsonLines, list[object]]:
    values: list[object] = []
    return JsonLines(path, lambda _, value: values.append(value)), values


def test_content_or_its_parts(tmp_path: Path) -> None:
    for content in (b"abc", bytearray(b"abc"), memoryview(b"abc"), [b"a", b"bc"], iter([b"ab", b"c"])):
        write_atomically(content, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"abc"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_failure_halfway_leaves_the_old_file(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(parts(), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere") as caught:
        write_atomically(b"", tmp_path / "nowhere/file")
    assert "nowhere" in str(caught.value.filename)


@pytest.mark.parametrize("name", ["x" * 255, "あ" * 85, "x" * 240, "\udcd6\udcd0.png"])
def test_a_name_that_the_file_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    """The temporary name must not be the one that is too long."""
    write_atomically(b"abc", tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_an_error_names_the_file_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("あ" * 86)
    with pytest.raises(OSError, match="too long") as caught:
        write_atomically(b"abc", path)
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_text_are_escaped_in_tables(tmp_path: Path) -> None:
    write_csv_atomically([["image"], ["\udcd6\udcd0 é"]], tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "image\n\\xd6\\xd0 é\n"


def test_leftovers_go_and_files_stay(tmp_path: Path) -> None:
    for name in (".file.123.tmp", "file", ".hidden", "file.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"file", ".hidden", "file.tmp"}


def test_values_come_back_in_order_and_by_place(path: Path) -> None:
    journal, values = opened(path)
    assert values == []
    places = journal.append({"a": 1}, [2, "é\n"])
    places += journal.append("three")
    assert [journal.read(place) for place in reversed(places)] == ["three", [2, "é\n"], {"a": 1}]
    places += journal.append(4)  # after reading, still at the end
    journal.close()
    replayed: list[int] = []
    journal = JsonLines(path, lambda place, value: replayed.append(place))
    assert replayed == places
    assert journal.read(places[3]) == 4
    journal.close()


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_line_cut_short_is_dropped(path: Path, cut: int) -> None:
    whole = b'"first"\n"second"\n'
    path.write_bytes(whole[:-cut])
    journal, values = opened(path)
    assert values == ["first"]
    journal.append("third")
    journal.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == ["first", "third"]


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError])
def test_all_behind_a_broken_line_is_dropped(path: Path, error: type[Exception]) -> None:
    def refuse(_: int, value: object) -> None:
        if value == "broken":
            raise error

    path.write_bytes(b'"first"\n"broken"\n"third"\n')
    JsonLines(path, refuse).close()
    assert path.read_bytes() == b'"first"\n'
