"""`basicsr prepare check`: whole sets pass, and every kind of damage is one line that names it."""

import hashlib
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import photograph

from datasets_prep import checking
from datasets_prep.checking import Checked, check, find_stores
from datasets_prep.image_files import encode_png
from datasets_prep.lmdb_writer import LmdbStore, LmdbWriter
from datasets_prep.manifest import Header, Record, manifest_path, read_header, read_records, write_manifest
from datasets_prep.stores import open_store
from ramit_model.cli import main
from ramit_model.system.errors import InputError

KEYS = ("a", "b", "c d")


def make(
    path: Path, role: str, images: dict[str, np.ndarray], *, gt: str | None = None, scale: int = 1, whole: bool = True
) -> None:
    """A prepared LMDB or folder, as `prepare` leaves it."""
    store = open_store(path)
    contents = {key: encode_png(image, 1) for key, image in images.items()}
    store.put(contents.items())
    records = [
        Record(key, (*images[key].shape, 1)[:3], hashlib.sha256(content).hexdigest())
        for key, content in contents.items()
    ]
    if isinstance(store, LmdbStore):
        store.write_meta_info((record.key, record.size, 1) for record in records)
    header = Header("Family", role, {}, "", len(images), whole, len(images), gt, scale, {})
    write_manifest(path, header, records)
    store.close()


def pictures(size: int, suffix: str = "", keys: tuple[str, ...] = KEYS) -> dict[str, np.ndarray]:
    return {f"{key}{suffix}": photograph(size, size + 2 * size // 8, seed=i) for i, key in enumerate(keys)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of data sets: LMDBs for training, folders for a test."""
    root = tmp_path / "datasets"
    make(root / "Train/HR.lmdb", "gt", pictures(16))
    make(root / "Train/LR_X2.lmdb", "x2", pictures(8), gt="../../Train/HR.lmdb", scale=2)
    make(root / "Test/HR", "gt", pictures(16))
    make(root / "Test/LR_bicubic/X2", "x2", pictures(8, "x2"), gt="../../../Test/HR", scale=2)
    (root / "notes.txt").write_text("of one's own")
    return root


LMDB, FOLDER = "Train/HR.lmdb", "Test/HR"


def problems(path: Path) -> list[str]:
    """All problems, which `basicsr prepare check` prints one a line, with exit code 2."""
    found = [problem for checked in check(path, 1) for problem in checked.problems]
    assert all("\n" not in problem for problem in found)
    return found


def change(store: Path, key: str, content: bytes | None) -> None:
    """Change, add or remove an entry behind the manifest's back."""
    opened = open_store(store)
    if content is None:
        opened.remove([key])
    else:
        opened.put([(key, content)])
    opened.close()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def entry(store: Path, key: str) -> bytes:
    opened = open_store(store)
    content = opened.get(key)
    opened.close()
    assert content is not None
    return content


# Whole sets -----------------------------------------------------------------------------------------------------------


def test_whole_sets_pass_with_a_line_each(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "check", str(root), "--jobs", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines() == [
        f"{root}/Test/HR: 3 entries from 3 images as recorded",
        f"{root}/Test/LR_bicubic/X2: 3 entries from 3 images as recorded, pairs with HR times 2",
        f"{root}/Train/HR.lmdb: 3 entries from 3 images as recorded",
        f"{root}/Train/LR_X2.lmdb: 3 entries from 3 images as recorded, pairs with HR.lmdb times 2",
    ]


@pytest.mark.parametrize("name", [LMDB, FOLDER, "Train", "Test/LR_bicubic"])
def test_a_part_is_checked_by_itself(root: Path, name: str) -> None:
    assert problems(root / name) == []


def test_several_processes_find_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "ENTRIES_A_TASK", 1)
    for key in KEYS:
        change(root / LMDB, key, b"x")
    make(root / "more.lmdb", "gt", pictures(8, keys=tuple("abcdefgh")))
    change(root / "more.lmdb", "g", b"x")
    assert [c.problems for c in check(root, 2)] == [c.problems for c in check(root, 1)]
    assert len(problems(root)) == 4


def test_a_part_of_the_published_images_is_said(root: Path) -> None:
    make(root / "part.lmdb", "gt", pictures(8), whole=False)
    (found,) = check(root / "part.lmdb", 1)
    assert found.summary.endswith("from 3 images (not all of the published ones) as recorded")


def test_test_images_may_have_border_pixels_without_lr_pixel(root: Path) -> None:
    make(root / "T/HR", "gt", {"a": photograph(17, 16)})
    make(root / "T/X2", "x2", {"ax2": photograph(8, 8)}, gt="../../T/HR", scale=2)
    assert problems(root / "T") == []
    make(root / "T/HR", "gt", {"a": photograph(18, 16)})
    assert problems(root / "T") == [f"{root}/T/X2: entry a is 8x8, its ground truth 18x16, scale 2"]
    shutil.rmtree(root / "T")
    make(root / "T/GT.lmdb", "gt", {"a": photograph(17, 16)})
    make(root / "T/LQ.lmdb", "lq", {"a": photograph(8, 8)}, gt="../../T/GT.lmdb", scale=2)
    assert problems(root / "T") == [f"{root}/T/LQ.lmdb: entry a is 8x8, its ground truth 17x16, scale 2"]


def test_gray_images_are_whole(root: Path) -> None:
    make(root / "gray.lmdb", "gt", {"a": photograph(9, 9)[..., 0]})
    assert problems(root / "gray.lmdb") == []


def test_linked_sets_pair_with_the_neighbours_of_the_link(root: Path, tmp_path: Path) -> None:
    (root / "Train/LR_X2.lmdb").rename(tmp_path / "elsewhere.lmdb")
    (root / "Train/LR_X2.lmdb").symlink_to(tmp_path / "elsewhere.lmdb")
    assert problems(root) == []


def test_links_in_circles_are_no_trouble(root: Path) -> None:
    before = find_stores(root)
    (root / "Test/loop").symlink_to(root)
    (root / "Test/loop2").symlink_to(root / "Test")
    assert find_stores(root) == before


def test_the_working_directory_may_be_a_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / LMDB)
    (found,) = check(Path(), 1)
    assert found.problems == []
    change(root / LMDB, "a", b"x")
    assert problems(Path())


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [LMDB, FOLDER])
def test_a_flipped_bit_is_found_wherever_it_is(root: Path, name: str) -> None:
    content = entry(root / name, "b")
    for place in (0, 30, len(content) // 2, len(content) - 1):
        change(root / name, "b", flipped(content, place))
        (line,) = problems(root / name)
        assert line == f"{root / name}: entry b has changed since it was written; prepare the set again"


@pytest.mark.parametrize("name", [LMDB, FOLDER])
def test_another_image_is_found(root: Path, name: str) -> None:
    change(root / name, "b", entry(root / name, "a"))
    assert len(problems(root / name)) == 1


@pytest.mark.parametrize("name", [LMDB, FOLDER])
def test_a_missing_entry_is_found(root: Path, name: str) -> None:
    change(root / name, "c d", None)
    assert problems(root / name) == [f"{root / name}: entry c d is missing; prepare the set again"]


@pytest.mark.parametrize("name", [LMDB, FOLDER])
def test_an_extra_entry_is_found(root: Path, name: str) -> None:
    change(root / name, "e", entry(root / name, "a"))
    assert problems(root / name) == [f"{root / name}: e is not in the list of entries; remove it"]


def test_everything_that_is_wrong_has_its_line(root: Path) -> None:
    change(root / LMDB, "a", None)
    change(root / LMDB, "b", b"x")
    change(root / LMDB, "e", b"x")
    change(root / FOLDER, "a", b"x")
    found = list(check(root, 1))
    assert [len(checked.problems) for checked in found] == [1, 0, 3, 0]
    assert found[2].summary == f"{root}/Train/HR.lmdb: 3 problems"


def test_the_command_ends_with_the_problems(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(root / LMDB, "a", None)
    change(root / LMDB, "b", b"x")
    assert main(["prepare", "check", str(root / FOLDER), str(root / "Train"), "--jobs", "1"]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert len(captured.err.splitlines()) == 2
    assert all(line.startswith(f"basicsr prepare: {root}/Train/HR.lmdb: entry ") for line in captured.err.splitlines())


@pytest.mark.parametrize("name", ["other.jpg", "sub/x.png", "link.png"])
def test_files_that_do_not_belong_into_a_folder_are_found(root: Path, name: str) -> None:
    path = root / FOLDER / name
    path.parent.mkdir(exist_ok=True)
    if name == "link.png":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b"x")
    (line,) = problems(root / FOLDER)
    assert "is not in the list of entries; remove it" in line


def test_an_image_that_cannot_be_read_is_found(root: Path) -> None:
    (root / FOLDER / "a.png").unlink()
    (root / FOLDER / "a.png").mkdir()
    (root / FOLDER / "b.png").unlink()
    (root / FOLDER / "b.png").symlink_to("nowhere")
    assert problems(root / FOLDER) == [
        f"{root / FOLDER}: entry {key} cannot be read; check the disk, or prepare the set again" for key in "ab"
    ]


def test_a_broken_line_of_the_manifest_is_found(root: Path) -> None:
    for name in (LMDB, FOLDER):
        path = manifest_path(root / name)
        lines = path.read_bytes().splitlines(keepends=True)
        lines[2] = lines[2][:10] + b"\n"
        path.write_bytes(b"".join(lines))
        assert problems(root / name) == [f"{path}:3: broken; prepare the set again with --force"]


def test_lines_missing_from_the_manifest_are_found(root: Path) -> None:
    path = manifest_path(root / FOLDER)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert problems(root / FOLDER) == [
        f"{root / FOLDER}: c d is not in the list of entries; remove it",
        f"{root / FOLDER}: 2 entries are listed, 3 were; prepare the set again",
    ]


@pytest.mark.parametrize("name", ["Train/LR_X2.lmdb", "Test/LR_bicubic/X2"])
def test_no_flipped_bit_of_a_manifest_ends_in_a_traceback(root: Path, name: str) -> None:
    path = manifest_path(root / name)
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(150):
        place = draw.randrange(len(whole))
        broken = bytearray(whole)
        broken[place] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        found = problems(root / name)
        # The first line has words that nothing depends on.
        assert found or place < whole.index(b"\n"), broken[place - 20 : place + 20]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("(16,20,3)", "(16,21,3)", 1),
        lambda text: text.replace("a.png", "e.png"),
        lambda text: "".join(text.splitlines(keepends=True)[1:]),
        lambda text: "".join(reversed(text.splitlines(keepends=True))),
        lambda text: text + "f.png (1,1,3) 1\n",
    ],
)
def test_a_list_of_entries_that_is_not_the_manifests_is_found(root: Path, damage: Callable[[str], str]) -> None:
    path = root / LMDB / "meta_info.txt"
    path.write_text(damage(path.read_text()))
    assert problems(root / LMDB) == [f"{root / LMDB}: meta_info.txt and manifest.jsonl differ; prepare the set again"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "meta_info.txt is missing or cannot be read"),
        (b"\xff", "meta_info.txt is missing"),
        (b"a.png\n", "meta_info.txt:1: not"),
    ],
)
def test_a_list_of_entries_that_cannot_be_read_is_found(root: Path, content: bytes | None, part: str) -> None:
    path = root / LMDB / "meta_info.txt"
    path.unlink() if content is None else path.write_bytes(content)
    (line,) = problems(root / LMDB)
    assert part in line


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 5000, 8192, 9000, 12_288, 20_000, -4096, -1])
def test_an_lmdb_that_is_cut_short_is_found(root: Path, size: int) -> None:
    shutil.rmtree(root / LMDB)
    make(root / LMDB, "gt", pictures(64))
    data = root / LMDB / "data.mdb"
    cut(data, size if size >= 0 else data.stat().st_size + size)
    (line,) = problems(root / LMDB)
    assert line.startswith(f"{root / LMDB}: ")
    assert "data.mdb is cut short; " in line or "cannot be read as an LMDB (" in line
    assert line.endswith("; prepare the set again")


def test_an_lmdb_without_data_is_found(root: Path) -> None:
    (root / LMDB / "data.mdb").unlink()
    (line,) = problems(root / LMDB)
    assert "cannot be read as an LMDB (No such file or directory)" in line
    shutil.rmtree(root / LMDB)
    (root / LMDB).mkdir()
    (line,) = problems(root / LMDB)
    assert "meta_info.txt is missing" in line


@pytest.mark.parametrize("page", range(8))
def test_a_damaged_page_of_an_lmdb_is_one_line(root: Path, page: int) -> None:
    data = root / LMDB / "data.mdb"
    whole = data.read_bytes()
    start = 4096 * page
    data.write_bytes(whole[:start] + b"\xff" * 16 + whole[start + 16 :])
    assert len(problems(root / LMDB)) <= len(KEYS)


# Pairs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gt", "lq"), [(LMDB, "Train/LR_X2.lmdb"), (FOLDER, "Test/LR_bicubic/X2")])
def test_entries_without_partner_are_found(root: Path, gt: str, lq: str) -> None:
    suffix = "" if gt == LMDB else "x2"
    header = read_header(root / lq)
    assert header is not None
    shutil.rmtree(root / lq)
    make(root / lq, "x2", pictures(8, suffix, ("a", "b", "e")), gt=header.gt, scale=2)
    assert problems(root / lq) == [
        f"{root / lq}: entry e has no partner in {Path(gt).name}",
        f"{root / gt}: entry c d has no partner in {Path(lq).name}",
    ]


@pytest.mark.parametrize("scale", [3, 1])
def test_sizes_that_do_not_match_are_found(root: Path, scale: int) -> None:
    store = root / "Train/LR_X2.lmdb"
    header = read_header(store)
    assert header is not None
    write_manifest(store, replace(header, scale=scale), list(read_records(store)))
    assert problems(store) == [f"{store}: entry {key} is 8x10, its ground truth 16x20, scale {scale}" for key in KEYS]


def test_ground_truth_that_is_not_there_is_found(root: Path) -> None:
    shutil.rmtree(root / LMDB)
    assert problems(root) == [
        f"{root}/Train/LR_X2.lmdb: its ground truth {root}/Train/HR.lmdb is missing; prepare the family again"
    ]


# From elsewhere -------------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    path = tmp_path / "foreign.lmdb"
    with LmdbWriter(path) as writer:
        for key, image in pictures(9).items():
            writer.put(key, image)
        writer.put("gray", photograph(5, 6)[..., 0])
        writer.put("deep", photograph(5, 6).astype(np.uint16) * 200)
    return path


def test_entries_of_a_foreign_lmdb_must_decode(foreign: Path) -> None:
    (found,) = check(foreign, 1)
    assert found.problems == []
    assert found.summary == f"{foreign}: 5 entries decode (no manifest: nothing else is known about them)"
    change(foreign, "a", entry(foreign, "a")[:-20])
    (line,) = problems(foreign)
    assert line.startswith(f"{foreign}: entry a: is cut short or damaged")


def test_sizes_of_a_foreign_lmdb_are_those_listed(foreign: Path) -> None:
    path = foreign / "meta_info.txt"
    path.write_text(path.read_text().replace("(5,6,1)", "(5,7,1)"))
    assert problems(foreign) == [f"{foreign}: entry gray is 5x6x1, recorded as 5x7x1; prepare the set again"]


def test_a_lost_manifest_makes_an_lmdb_foreign(root: Path) -> None:
    manifest_path(root / LMDB).unlink()
    (found,) = check(root / LMDB, 1)
    assert (found.header, found.problems, found.entries) == (None, [], 3)


def test_an_empty_lmdb(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "x.lmdb"):
        pass
    assert list(check(tmp_path, 1)) == [Checked(tmp_path / "x.lmdb", None, 0, [])]


# Nothing to check -----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["missing", "empty", "file", "plain images"])
def test_nothing_to_check_is_one_line(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_bytes(b"x")
    elif kind != "missing":
        path.mkdir()
    if kind == "plain images":
        (path / "a.png").write_bytes(encode_png(photograph(4, 4), 1))
    with pytest.raises(InputError, match=r"no LMDB and no prepared folder here; check the path"):
        list(check(path))
    assert main(["prepare", "check", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("below", ["Train", ""])
def test_an_unfinished_preparation_is_found(root: Path, below: str) -> None:
    work = root / below / ".preparing"
    make(work / "HR.lmdb", "gt", pictures(8))
    for path in (root, work):
        assert problems(path) == [f"{work}: an unfinished preparation; run its command again"]


def test_a_renamed_family_is_whole(root: Path) -> None:
    (root / "Train").rename(root / "renamed")
    (root / "Test").rename(root / "mine")
    assert [problem for found in check(root, 1) for problem in found.problems] == []
    shutil.rmtree(root / "mine/HR")
    assert any("its ground truth" in problem for found in check(root, 1) for problem in found.problems)
