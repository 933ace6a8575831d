"""The journal: a kill at any byte costs at most the images behind it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from datasets_prep.gathering import Item
from datasets_prep.journal import Journal
from datasets_prep.manifest import Record
from datasets_prep.processing import Processed
from datasets_prep.sources import Member


def item(key: str) -> Item:
    def member(folder: str) -> Member:
        return Member(Path("photos"), f"{folder}/{key}.png", 9, "folder", Path("photos"), 0, (9, 123))

    return Item(key, {"gt": member("HR"), "x2": member("LR")})


def processed(key: str) -> Processed:
    record = Record(f"{key}_s001", (4, 6, 3), "ab" * 32)
    entries = {"gt": [(record, b"png"), (record, b"png")], "x2": [(record, b"")]}
    return Processed(entries, [f"note on {key}"], [])


ITEMS = [item(key) for key in ("b", "a", "größe", "c d")]


def fill(path: Path, items: Iterable[Item] = ITEMS) -> None:
    with Journal(path) as journal:
        for one in items:
            journal.add([(one, processed(one.key))])


def keys(path: Path) -> list[str]:
    with Journal(path) as journal:
        return [line.key for line in journal]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_a_new_one_is_empty(path: Path) -> None:
    with Journal(path) as journal:
        assert (len(journal), list(journal), journal.has(ITEMS[0])) == (0, [], False)
    assert path.exists()


@pytest.mark.parametrize("reopened", [False, True])
def test_what_is_added_is_read_sorted(path: Path, reopened: bool) -> None:
    with Journal(path) as journal:
        journal.add((one, processed(one.key)) for one in ITEMS)
        if not reopened:
            found = list(journal)
    if reopened:
        with Journal(path) as journal:
            found = list(journal)
    assert [line.key for line in found] == ["a", "b", "c d", "größe"]
    for line in found:
        record = Record(f"{line.key}_s001", (4, 6, 3), "ab" * 32)
        assert line.records == {"gt": [record, record], "x2": [record]}
        assert line.notes == [f"note on {line.key}"]


def test_every_image_is_on_the_disk_once_added(path: Path) -> None:
    with Journal(path) as journal:
        for count, one in enumerate(ITEMS, 1):
            journal.add([(one, processed(one.key))])
            assert path.read_bytes().count(b"\n") == count


def test_it_is_read_while_it_is_added_to(path: Path) -> None:
    with Journal(path) as journal:
        journal.add([(ITEMS[0], processed("b"))])
        for line in journal:
            assert line.key == "b"
            journal.add([(ITEMS[2], processed("größe"))])
        assert [line.key for line in journal] == ["b", "größe"]


def test_cut_at_any_byte_it_reads_back_a_prefix_and_can_be_added_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # slow, a thousand times
    fill(path)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        count = whole[:cut].count(b"\n")
        with Journal(path) as journal:
            assert [journal.has(one) for one in ITEMS] == [i < count for i in range(len(ITEMS))]
            assert len(journal) == count
            journal.add((one, processed(one.key)) for one in ITEMS[count:])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("garbage", [b"\0\0\0", b"\0\0\n", b"\xff\n", b"[]\n", b"3\n", b"\n"])
def test_what_a_power_cut_leaves_at_the_end_is_dropped(path: Path, garbage: bytes) -> None:
    fill(path)
    whole = path.read_bytes()
    path.write_bytes(whole + garbage)
    assert len(keys(path)) == len(ITEMS)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "change", [{"size": 8}, {"stamp": (9, 124)}, {"stamp": (8, 123)}, {"name": "HR/other.png"}, {"source": Path("x")}]
)
@pytest.mark.parametrize("role", ["gt", "x2"])
def test_an_image_of_changed_files_is_not_done(path: Path, role: str, change: dict[str, object]) -> None:
    fill(path)
    (old, *others) = ITEMS
    new = Item(old.key, {**old.files, role: replace(old.files[role], **change)})  # type: ignore[arg-type]
    with Journal(path) as journal:
        assert journal.has(old)
        assert not journal.has(new)
        assert journal.stale(ITEMS) == []
        (stale,) = journal.stale([new, *others])
        assert stale.key == old.key
        assert stale.records.keys() == {"gt", "x2"}


def test_an_image_that_got_or_lost_a_file_is_not_done(path: Path) -> None:
    fill(path)
    alone = Item("b", {"gt": ITEMS[0].files["gt"]})
    with Journal(path) as journal:
        assert not journal.has(alone)
        journal.add([(alone, processed("b"))])
        assert journal.has(alone)
        assert not journal.has(ITEMS[0])


def test_images_that_are_gone_are_stale(path: Path) -> None:
    fill(path)
    with Journal(path) as journal:
        assert {line.key for line in journal.stale(ITEMS[:1])} == {"a", "größe", "c d"}
        assert {line.key for line in journal.stale([])} == {one.key for one in ITEMS}


@pytest.mark.parametrize("reopened", [False, True])
def test_what_is_forgotten_is_not_done_until_it_is_added_again(path: Path, reopened: bool) -> None:
    fill(path)
    with Journal(path) as journal:
        journal.forget(["a", "b"])
        if not reopened:
            assert [line.key for line in journal] == ["c d", "größe"]
    assert keys(path) == ["c d", "größe"]
    fill(path, ITEMS[:1])
    assert keys(path) == ["b", "c d", "größe"]


def test_the_last_line_about_an_image_counts(path: Path) -> None:
    fill(path)
    with Journal(path) as journal:
        journal.add([(ITEMS[0], processed("b")._replace(notes=["new"]))])
        assert [line.notes for line in journal if line.key == "b"] == [["new"]]
        assert len(journal) == len(ITEMS)
    with Journal(path) as journal:
        assert [line.notes for line in journal if line.key == "b"] == [["new"]]
