"""LMDBs and folders as stores: they behave alike, grow as needed, and a full disk is an OSError that names them."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from datasets_prep import lmdb_writer
from datasets_prep.stores import FolderStore, LmdbStore, Store, open_store
from ramit_model.system.errors import InputError


@pytest.fixture(params=["x.lmdb", "x"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / "a" / request.param


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = open_store(path)
    yield store
    store.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes: the nearest to a full disk that any user can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_name_says_which_it_is(tmp_path: Path) -> None:
    for name, kind in (("x.lmdb", LmdbStore), ("LR_bicubic/X2", FolderStore), ("x.y", FolderStore)):
        store = open_store(tmp_path / name)
        assert type(store) is kind
        assert store.path == tmp_path / name
        assert store.path.is_dir()
        store.close()


def test_what_goes_in_comes_out(store: Store) -> None:
    assert (len(store), store.get("a")) == (0, None)
    store.put([("a", b"first"), ("b c", b"second")])
    store.put(iter([("b", b"")]))
    assert (store.get("a"), store.get("b c"), store.get("b"), store.get("c")) == (b"first", b"second", b"", None)
    assert len(store) == 3


def test_entries_are_replaced(store: Store) -> None:
    store.put([("a", b"a long first content"), ("b", b"2")])
    store.put([("a", b"new")])
    assert (store.get("a"), store.get("b"), len(store)) == (b"new", b"2", 2)


def test_entries_are_removed_and_missing_ones_passed_over(store: Store) -> None:
    store.put([("a", b"1"), ("b", b"2")])
    store.remove(key for key in ("a", "nowhere"))
    assert (store.get("a"), store.get("b"), len(store)) == (None, b"2", 1)
    store.remove([])
    assert len(store) == 1


def test_entries_outlive_the_store(path: Path) -> None:
    for key in ("a", "b"):
        store = open_store(path)
        store.put([(key, key.encode())])
        store.close()
    store = open_store(path)
    assert (store.get("a"), store.get("b"), len(store)) == (b"a", b"b", 2)
    store.close()


def test_nothing_but_the_entries_is_left(path: Path) -> None:
    store = open_store(path)
    store.put([("a", b"1")])
    store.close()
    assert [file.name for file in path.iterdir()] == [{"x.lmdb": "data.mdb", "x": "a.png"}[path.name]]


@pytest.mark.parametrize("write", ["put", "remove"])
def test_the_map_grows_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    monkeypatch.setattr(lmdb_writer, "START_SIZE", 32 * 1024)
    store = LmdbStore(tmp_path / "x.lmdb")
    entries = [(f"k{i}", os.urandom(9000)) for i in range(40)]
    store.put(entries[:20])
    if write == "put":
        store.put(entries[20:])
    else:
        store._environment.set_mapsize(store._environment.info()["last_pgno"] * 4096 + 4096)
        store.remove(f"k{i}" for i in range(3))
        entries = entries[3:20]
    assert [(key, store.get(key)) for key, _ in entries] == entries
    assert len(store) == len(entries)
    store.close()


def test_a_store_larger_than_the_first_map_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_writer, "START_SIZE", 32 * 1024)
    for i in range(20):
        store = LmdbStore(tmp_path / "x.lmdb")
        store.put([(f"k{i}", bytes(20_000))])
        store.close()
    assert LmdbStore(tmp_path / "x.lmdb").get("k0") == bytes(20_000)


def test_a_file_that_cannot_grow_is_an_error_that_names_the_store(store: Store) -> None:
    store.put([("old", b"old")])
    with largest_file(200_000), pytest.raises(OSError, match="File too large") as caught:
        store.put((f"k{i}", os.urandom(5000 * (1 + 50 * i))) for i in range(4))
    # LMDB itself would call it an input/output error.
    assert caught.value.errno == errno.EFBIG
    assert str(caught.value.filename).startswith(str(store.path))
    assert store.get("old") == b"old"
    assert [file.name for file in store.path.iterdir() if file.name == "probe"] == []
    store.put([("new", b"new")])
    assert store.get("new") == b"new"


def test_a_failed_put_into_an_lmdb_leaves_none_of_its_entries(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "x.lmdb")
    with largest_file(100_000), pytest.raises(OSError, match="too large"):
        store.put((f"k{i}", bytes(50_000)) for i in range(4))
    assert len(store) == 0
    store.close()


def test_an_lmdb_that_cannot_be_begun_is_an_error_that_names_it(tmp_path: Path) -> None:
    with largest_file(1000), pytest.raises(OSError, match="too large") as caught:
        LmdbStore(tmp_path / "x.lmdb")
    assert caught.value.filename == str(tmp_path / "x.lmdb")


class Failing:
    """An LMDB environment whose transactions fail as LMDB's do."""

    def __init__(self, error: lmdb.Error) -> None:
        self.error = error

    def begin(self, **_: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "act",
    [lambda s: s.put([("a", b"")]), lambda s: s.remove(["a"]), lambda s: s.get("a")],
    ids=["put", "remove", "get"],
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_what_lmdb_says_of_the_disk_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[LmdbStore], object], number: int
) -> None:
    store = LmdbStore(tmp_path / "x.lmdb")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_environment", Failing(lmdb.Error(f"mdb_txn_commit: {os.strerror(number)}")))
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            act(store)
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "x.lmdb"))
    store.close()


@pytest.mark.parametrize("content", [b"x" * 9000, bytes(8192)])
def test_a_broken_lmdb_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.lmdb").mkdir()
    (tmp_path / "x.lmdb/data.mdb").write_bytes(content)
    with pytest.raises(InputError, match=r"x.lmdb: cannot be used as an LMDB \(.*\); remove it") as caught:
        LmdbStore(tmp_path / "x.lmdb")
    assert len(str(caught.value).splitlines()) == 1


def test_the_file_of_an_lmdb_is_never_shorter_than_its_pages(tmp_path: Path) -> None:
    # Writing and deleting in one go leaves free pages at the end, which LMDB does not write.
    for seed in range(60):
        store = LmdbStore(tmp_path / f"{seed}.lmdb")
        store.put((f"key{i}", bytes(1500)) for i in range(30 + seed))
        store.remove(f"key{i}" for i in range(seed, 30 + seed, 2))
        store.remove(f"key{i}" for i in range(0, 30 + seed, 3))
        store.close()
        with lmdb.open(str(store.path), readonly=True, lock=False) as environment:
            pages = environment.info()["last_pgno"] + 1
            assert (store.path / "data.mdb").stat().st_size >= pages * environment.stat()["psize"]
