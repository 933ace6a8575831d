"""Folders and archives of images, read in place: real ones, odd ones and broken ones."""

import bz2
import errno
import gzip
import io
import lzma
import multiprocessing
import os
import pickle
import random
import re
import stat
import struct
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_prep import sources
from datasets_prep.sources import Member, look_into, needs_unpacking, read, unpack
from ramit_model.system.errors import InputError

FILES = {
    "DIV2K/HR/0001.png": b"first",
    "DIV2K/HR/0002.PNG": b"second" * 1000,
    "DIV2K/0001.jpeg": b"",
    "Größe/图像.TiFF": random.Random(0).randbytes(20000),
    "top.webp": b"top",
    "notes.txt": b"no image",
    ".hidden.png": b"no",
    "DIV2K/.cache/x.png": b"no",
    "__MACOSX/DIV2K/0001.png": b"no",
    "DIV2K/._0001.png": b"no",
}
IMAGES = {name: FILES[name] for name in list(FILES)[:5]}


def list_source(source: Path, unpacked: Path | None = None) -> list[Member]:
    """The images that are found."""
    return look_into(source, unpacked).members


def make_folder(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def make_zip(path: Path, files: Mapping[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


def make_tar(path: Path, files: Mapping[str, bytes] = FILES, compression: str = "") -> Path:
    form = tarfile.GNU_FORMAT
    with tarfile.open(path, f"w:{compression}", format=form, encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "set": make_folder,
    "set.zip": make_zip,
    "set.tar": make_tar,
    "set.tar.gz": lambda path: make_tar(path, compression="gz"),
    "set.TGZ": lambda path: make_tar(path, compression="gz"),
    "set.tar.bz2": lambda path: make_tar(path, compression="bz2"),
    "set.tar.xz": lambda path: make_tar(path, compression="xz"),
}


def listed(source: Path) -> list[Member]:
    """Members of any source, unpacked beside it where that is needed."""
    unpacked = unpack(source, source.parent / "unpacked") if needs_unpacking(source) else None
    return list_source(source, unpacked)


def problems(source: Path) -> list[str]:
    """The lines of the message, which any stream must take."""
    with pytest.raises(InputError) as caught:
        listed(source)
    return checked(caught.value)


def checked(error: InputError) -> list[str]:
    lines = str(error).split("\n")
    for line in lines:
        assert line.isprintable()
        line.encode()
        assert re.search(r": .+; \w+", line), line
    return lines


def problem(source: Path) -> str:
    [line] = problems(source)
    assert source.name in line
    return line


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_of_source(name: str, tmp_path: Path) -> None:
    source = MAKERS[name](tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    members = listed(source)
    assert [member.name for member in members] == sorted(IMAGES)
    assert {member.name: read(member) for member in members} == IMAGES
    for member in members:
        assert member.source == source
        assert member.size == len(IMAGES[member.name])
        assert member.path == PurePosixPath("set") / member.name
        assert member.where == (f"set/{member.name}" if name == "set" else f"{name}: {member.name}")
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    new = set(after) - set(before)
    assert len(new) == needs_unpacking(source)
    assert all(path.suffix == ".tar" for path in new)
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_zip(method: int, tmp_path: Path) -> None:
    assert {m.name: read(m) for m in list_source(make_zip(tmp_path / "a.zip", method=method))} == IMAGES


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_tars(form: int, tmp_path: Path) -> None:
    name = f"{'d' * 90}/{'n' * 90}.png"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for i in range(3):
            info = tarfile.TarInfo(f"{i}{name}")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"%d!!" % i))
    assert [(m.name, read(m)) for m in list_source(tmp_path / "a.tar")] == [
        (f"{i}{name}", b"%d!!" % i) for i in range(3)
    ]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("BSR_bsds500.tgz", "BSR_bsds500"),
        ("a.b.tar.gz", "a.b"),
        ("a.TAR.XZ", "a"),
        ("a.tbz2", "a"),
        ("a.txz", "a"),
        ("DIV2K_train_HR.zip", "DIV2K_train_HR"),
        ("v1.0", "v1.0"),
        (".zip", ".zip"),
    ],
)
def test_path_leaves_the_extensions_of_archives_out(name: str, title: str, tmp_path: Path) -> None:
    [member] = list_source(make_zip(tmp_path / name, {"x/1.png": b"1"}))
    assert member.path == PurePosixPath(title, "x/1.png")


def test_path_keeps_the_dots_of_folders(tmp_path: Path) -> None:
    [member] = list_source(make_folder(tmp_path / "old.zip", {"1.png": b"1"}))
    assert member.path == PurePosixPath("old.zip/1.png")


def test_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_folder(tmp_path / "photos", {"a/1.png": b"1"}))
    [member] = list_source(Path())
    assert (member.where, str(member.path), read(member)) == ("photos/a/1.png", "photos/a/1.png", b"1")
    monkeypatch.chdir("a")
    assert list_source(Path(".."))[0].where == "photos/a/1.png"


def test_archives_are_known_by_content(tmp_path: Path) -> None:
    for name in ("photo.png", "set.tar", "set.rar"):
        assert [m.kind for m in list_source(make_zip(tmp_path / name, {"1.png": b"1"}))] == ["zip"]
    assert [m.kind for m in list_source(make_tar(tmp_path / "set.zip", {"1.png": b"1"}))] == ["tar"]
    assert needs_unpacking(make_tar(tmp_path / "gz.zip", compression="gz"))


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip").read_bytes()
    source = make_tar(tmp_path / "outer.tar", {"1.png": b"outer", "inner.zip": inner})
    assert zipfile.is_zipfile(source)
    assert [(m.name, read(m)) for m in list_source(source)] == [("1.png", b"outer")]


def test_names_with_needless_parts(tmp_path: Path) -> None:
    files = {"./a//1.png": b"1", "b\\2.png": b"2", "dir.png/": b"", "windows.png\\": b""}
    for source in (make_zip(tmp_path / "a.zip", files), make_tar(tmp_path / "a.tar", files)):
        assert [(m.name, read(m)) for m in list_source(source)] == [("a/1.png", b"1"), ("b/2.png", b"2")]


# Folders.


def test_backslashes_and_dots_in_folders_are_names(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", {"a\\..\\b.png": b"1", "C:x.png": b"2", "a\\n.png": b"3", "a\n.png": b"4"})
    assert {m.name: read(m) for m in list_source(source)} == {p.name: p.read_bytes() for p in source.iterdir()}


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    make_folder(tmp_path / "far", {"HR/1.png": b"1"})
    source = make_folder(tmp_path / "in", {"0.png": b"0"})
    (source / "linked").symlink_to(tmp_path / "far")
    (source / "2.png").symlink_to(tmp_path / "far/HR/1.png")
    assert {m.name: read(m) for m in list_source(source)} == {"0.png": b"0", "linked/HR/1.png": b"1", "2.png": b"1"}
    (tmp_path / "source").symlink_to(source)
    assert len(list_source(tmp_path / "source")) == 3


def test_links_that_lead_round(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", {"a/1.png": b"1", "b/2.png": b"2"})
    (source / "a/up").symlink_to(source)
    (source / "a/here").symlink_to(source / "a")
    (source / "b/over").symlink_to(source / "a")
    (source / "a/over").symlink_to(source / "b")
    assert {m.name for m in list_source(source)} == {"a/1.png", "b/2.png", "a/over/2.png", "b/over/1.png"}


def test_broken_links(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in")
    (source / "DIV2K/gone.png").symlink_to(tmp_path / "nowhere")
    (source / "loop").symlink_to("loop")
    (source / ".hidden").symlink_to("nowhere")
    lines = sorted(problems(source))
    assert len(lines) == 2
    assert "DIV2K/gone.png: is a broken link" in lines[0]
    assert "in/loop: is a broken link" in lines[1]


def test_what_is_neither_file_nor_folder_is_left_out(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", {"dir.png/1.png": b"1"})
    os.mkfifo(source / "pipe.png")
    assert [m.name for m in list_source(source)] == ["dir.png/1.png"]
    assert "neither a file nor a folder" in problem(source / "pipe.png")


def test_a_source_in_a_hidden_folder(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    assert len(list_source(make_folder(tmp_path / ".data/.set"))) == len(IMAGES)


# Sources that hold nothing.


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    for name in ("none", "none.zip", "\udcff\n.zip"):
        [line] = problems(tmp_path / name)
        assert "no such file or folder" in line
    (tmp_path / "file").touch()
    [line] = problems(tmp_path / "file/set.zip")
    assert "cannot be read (Not a directory)" in line


def test_a_source_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is made up."""

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    folder, archive = make_folder(tmp_path / "in"), make_zip(tmp_path / "a.zip")
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "cannot be read (Permission denied)" in problem(folder)
    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in problem(archive)
    monkeypatch.setattr(Path, "stat", refuse)
    assert "cannot be read (Permission denied)" in problem(archive)


def test_sources_without_an_image(tmp_path: Path) -> None:
    files = {"a/notes.txt": b"", ".x.png": b"", "__MACOSX/x.png": b"", "png": b"", ".png": b"", "a.png.txt": b""}
    (tmp_path / "none").mkdir()
    (tmp_path / "0.zip").touch()
    for source in (
        tmp_path / "none",
        make_folder(tmp_path / "in", files),
        make_zip(tmp_path / "a.zip", files),
        make_zip(tmp_path / "none.zip", {}),
        make_tar(tmp_path / "a.tar", files),
        make_tar(tmp_path / "none.tar", {}),
        make_tar(tmp_path / "none.tgz", {}, "gz"),
    ):
        assert "holds no image" in problem(source)
    assert "is empty" in problem(tmp_path / "0.zip")


def test_archives_in_archives(tmp_path: Path) -> None:
    files = {"notes.txt": b"", "x/b.zip": b"", "x/a.TAR.gz": b"", "__MACOSX/0.zip": b""}
    for source in (make_zip(tmp_path / "a.zip", files), make_tar(tmp_path / "a.tgz", files, "gz")):
        assert "holds archives (x/a.TAR.gz), no image; unpack it and give the folder" in problem(source)
    assert "holds archives (x/a.TAR.gz), no image; give those" in problem(make_folder(tmp_path / "in", files))
    assert len(list_source(make_zip(tmp_path / "both.zip", {**files, "1.png": b""}))) == 1


@pytest.mark.parametrize(
    "content", [b"Rar!\x1a\x07\x00rest", b"Rar!\x1a\x07\x01\x00rest", b"7z\xbc\xaf\x27\x1c\x00\x04"]
)
def test_archives_that_cannot_be_read_in_place(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(content)
    assert "cannot be read in place; unpack it and give the folder" in problem(tmp_path / "set.zip")


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    (tmp_path / "1.JPG").write_bytes(b"\xff\xd8\xff")
    assert "is a single file; give the folder" in problem(tmp_path / "1.JPG")
    (tmp_path / "page.zip").write_bytes(b"<html>no archive</html>" * 100)
    assert "neither a zip nor a tar" in problem(tmp_path / "page.zip")
    (tmp_path / "1.png.gz").write_bytes(gzip.compress(b"no tar" * 1000))
    assert "neither a zip nor a tar" in problem(tmp_path / "1.png.gz")
    with pytest.raises(InputError):
        needs_unpacking(tmp_path / "1.png.gz")


# Archives that are not to be trusted.


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name",
    [
        "/etc/x.txt",
        "../x.png",
        "a/../../x.png",
        "a/..",
        "C:/x.png",
        "c:x.png",
        "./C:/x.png",
        "\\x.png",
        "..\\x.png",
        "a\\..\\x.png",
        "\\\\host\\share\\x.png",
        "//host/x.png",
        "a/../",
        "__MACOSX/../x.txt",
    ],
)
def test_archives_that_point_outside_are_refused_whole(name: str, tmp_path: Path) -> None:
    files = {"1.png": b"1", name: b"2", "../second.png": b"3", "/third/": b""}
    for source in (make_zip(tmp_path / "a.zip", files), make_tar(tmp_path / "a.tar", files)):
        line = problem(source)
        assert "points outside the archive" in line
        assert f": {name} (and 2 more) " in line
    assert "more" not in problem(make_zip(tmp_path / "b.zip", {"1.png": b"1", name: b"2"}))


@pytest.mark.parametrize(
    "name", ["..a.png", "a..png", "a/...png/1.png", "ratio 4:3.png", "16:9.png", "4:3.png", "a/c:/1.png"]
)
def test_names_that_only_look_as_if_they_point_outside(name: str, tmp_path: Path) -> None:
    files = {name: b"1", "ok.png": b"2"}
    expected = {n for n in files if not any(part.startswith(".") for part in n.split("/"))}
    for source in (make_zip(tmp_path / "a.zip", files), make_tar(tmp_path / "a.tar", files)):
        assert {m.name for m in list_source(source)} == expected


def test_links_and_special_files_in_archives_are_left_out(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "a.tar", {"1.png": b"1"})
    with tarfile.open(source, "a") as archive:
        for i, kind in enumerate(
            [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
        ):
            info = tarfile.TarInfo(f"special{i}.png")
            info.type = kind
            info.linkname = "1.png" if kind == tarfile.LNKTYPE else "/etc/passwd"
            archive.addfile(info)
    assert [m.name for m in list_source(source)] == ["1.png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("1.png", b"1")
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    assert [m.name for m in list_source(tmp_path / "a.zip")] == ["1.png"]


def patch_directory(path: Path, offset: int, value: bytes, count: int | None = None) -> None:
    """Overwrite a field in the entries of a zip's directory."""
    content = bytearray(path.read_bytes())
    for match in list(re.finditer(rb"PK\x01\x02", bytes(content)))[:count]:
        content[match.start() + offset : match.start() + offset + len(value)] = value
    path.write_bytes(content)


def test_encrypted_zips(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "a.zip", {"1.png": b"1", "2.png": b"2", "3.png": b"3", "4.txt": b"4"})
    patch_directory(source, 8, b"\x01\x00", 2)
    assert "1.png (and 1 more) is encrypted; unpack it" in problem(source)


def test_methods_of_zip_that_are_not_supported(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "a.zip", {"1.png": b"1", "2.png": b"2"})
    patch_directory(source, 10, b"\x09\x00")
    assert "1.png (and 1 more) is compressed by method 9; unpack it" in problem(source)


def test_the_same_name_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name in ("1.png", "2.png", "1.png", "1.png", "notes.txt", "notes.txt", "x/3.png", "x\\3.png"):
            archive.writestr(name, name)
    lines = problems(tmp_path / "a.zip")
    assert [line.partition(";")[0] for line in lines] == [
        "a.zip: 1.png: is there 3 times",
        "a.zip: x/3.png: is there 2 times",
    ]
    make_tar(tmp_path / "a.tar", {"1.png": b"1"})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("./1.png"))
    assert "1.png: is there 2 times" in problem(tmp_path / "a.tar")


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar", "set.tar.gz"])
def test_files_that_are_too_large(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = MAKERS[name](tmp_path / name)
    monkeypatch.setattr(sources, "MAX_BYTES", 6000)
    assert "图像.TiFF: 20000 bytes are more than the 6000" in problem(source)
    monkeypatch.setattr(sources, "MAX_BYTES", 5999)
    assert len(problems(source)) == 2


def test_a_zip_bomb(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "a.zip", {"1.png": bytes(10**6)})
    patch_directory(source, 24, struct.pack("<I", sources.MAX_BYTES + 1))
    assert "1.png: 1073741825 bytes are more" in problem(source)
    for size in (100, 10**6 + 1):
        patch_directory(source, 24, struct.pack("<I", size))
        [member] = list_source(source)
        with pytest.raises(InputError, match="damaged") as caught:
            read(member)
        checked(caught.value)


def test_a_way_of_packing_that_zipfile_does_not_know(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "a.zip", {"1.png": b"1"})
    patch_directory(source, 8, b"\x20\x00")
    [member] = list_source(source)
    with pytest.raises(InputError, match="flag bit 5") as caught:
        read(member)
    checked(caught.value)


def test_sparse_members_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("1.png")
    info.size = 512
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\x00" + b"00000001000\x00"
    header[483:495] = b"00000010000\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(512) + bytes(1024))
    assert "1.png is stored with holes; unpack it" in problem(tmp_path / "a.tar")


def test_strange_names(tmp_path: Path) -> None:
    files = {"a\udcff/\udce9.png": b"1", "line\nend\x1b[31m\u2028.png": b"2"}
    members = list_source(make_tar(tmp_path / "a.tar", files))
    assert {m.name: read(m) for m in members} == files
    for member in members:
        assert member.where.isprintable()
        member.where.encode()
    folder = make_folder(tmp_path / "in\udcff", files)
    assert {m.name: read(m) for m in list_source(folder)} == files
    (folder / "gone\udcff\n.png").symlink_to("nowhere")
    assert "gone\\xff\\n.png: is a broken link" in problems(folder)[0]
    assert "\\xff/x\\n.png points outside" in problems(make_tar(tmp_path / "b.tar", {"../\udcff/x\n.png": b""}))[0]
    source = make_zip(tmp_path / "a.zip", {"aé.png": b"1"})
    source.write_bytes(source.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert "damaged" in problem(source)
    patch_directory(source, 8, b"\x00\x00")
    assert len(list_source(source)) == 1


def test_all_problems_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name in ("0.png", "1.png", "2.png", "2.png"):
            archive.writestr(name, name)
    patch_directory(source, 8, b"\x01\x00", 1)
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("3.png", bytes(101))
    monkeypatch.setattr(sources, "MAX_BYTES", 100)
    lines = problems(source)
    assert len(lines) == 3
    assert all(any(word in line for line in lines) for word in ("encrypted", "2 times", "101 bytes"))


PARTS = st.sampled_from(["..", ".", "", "a", "C:", "c:b", ".h", "__MACOSX", "ü", "1.png", "x.JPG", "a b"]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4
)
NAMES = st.lists(
    st.tuples(PARTS, st.sampled_from(["/", "\\", "//", ".png", ".png/"])).map("".join), min_size=1, max_size=5
)


@given(names=st.lists(NAMES.map("".join), min_size=1, max_size=4, unique=True), packed=st.booleans())
def test_whatever_the_names_only_safe_ones_are_listed(names: list[str], packed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = dict.fromkeys(names, b"") | {"last.png": b""}
        source = make_zip(Path(folder, "a.zip"), files) if packed else make_tar(Path(folder, "a.tar"), files)
        try:
            members = list_source(source)
        except InputError as error:
            checked(error)
            return
        assert not any(".." in re.split(r"[/\\]", name) or name.startswith(("/", "\\")) for name in names)
        for member in members:
            assert re.fullmatch(r"[^\\]+", member.name, re.DOTALL)
            path = PureWindowsPath(member.name)
            assert not path.root
            assert not re.match("[a-zA-Z]:", path.drive)
            parts = member.name.split("/")
            assert all(part and not part.startswith(".") and part != "__MACOSX" for part in parts)
            assert member.path == PurePosixPath("a", *parts)
            assert read(member) == b""


# Damage.


@pytest.mark.parametrize("name", [name for name in MAKERS if "." in name])
def test_archives_cut_short(name: str, tmp_path: Path) -> None:
    whole = MAKERS[name](tmp_path / name).read_bytes()
    end = len(whole)
    if name == "set.tar":
        with tarfile.open(tmp_path / name) as archive:
            archive.getmembers()
            end = archive.offset
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut" / name
    lengths = {1, 5, 12, 100, 511, 512, 513, 1024, end // 2, end // 1024 * 512, end - 700, end - 512, end - 9, end - 1}
    for length in sorted(length for length in lengths if 0 < length < end):
        cut.write_bytes(whole[:length])
        line = problem(cut)
        assert "damaged" in line
        assert not list(cut.parent.glob("unpacked/.*"))


def test_a_damaged_header_inside_a_tar(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "a.tar", {"1.png": b"1", "2.png": b"2", "3.png": b"3"})
    content = bytearray(source.read_bytes())
    content[1024] ^= 1
    source.write_bytes(content)
    assert "damaged or cut short (no end of a tar)" in problem(source)


def test_a_tar_that_leads_back(tmp_path: Path) -> None:
    first, second = tarfile.TarInfo("1.png"), tarfile.TarInfo("2.png")
    second.size = -512
    content = first.tobuf() + second.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(content)
    assert "damaged" in problem(tmp_path / "a.tar")


def test_a_tar_that_leads_beyond_all_files(tmp_path: Path) -> None:
    info = tarfile.TarInfo("1.png")
    info.size = 2**80
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "damaged" in problem(tmp_path / "a.tar")


def test_damaged_members_of_zips(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(5000)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        source = make_zip(tmp_path / f"{method}.zip", {"1.png": noise, "2.png": b"2"}, method)
        content = bytearray(source.read_bytes())
        content[2000:2010] = bytes(10)
        source.write_bytes(content)
        damaged, whole = list_source(source)
        with pytest.raises(InputError, match=r"\.zip: 1\.png: damaged") as caught:
            read(damaged)
        assert len(checked(caught.value)) == 1
        assert read(whole) == b"2"


@pytest.mark.parametrize("name", [name for name in MAKERS if "." in name])
@given(seed=st.integers(0, 2**32))
def test_damage_never_raises_anything_else(name: str, seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        source = MAKERS[name](Path(folder, name))
        content = bytearray(source.read_bytes())
        # Half of it hits the directory of zips, or the headers of a small tar's members.
        for _ in range(chance.randrange(1, 4)):
            start = chance.choice([0, max(len(content) - 600, 0)])
            content[chance.randrange(start, len(content))] = chance.randrange(256)
        source.write_bytes(content)
        try:
            for member in listed(source):
                read(member)
        except InputError as error:
            checked(error)


# Reading.


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar"])
def test_sources_that_change_after_listing(name: str, tmp_path: Path) -> None:
    source = MAKERS[name](tmp_path / name)
    member = next(m for m in list_source(source) if m.name == "top.webp")
    assert read(member) == b"top"
    file = source / member.name if name == "set" else source
    before = file.stat()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    for change in (lambda: None, lambda: file.write_bytes(b"new content"), file.unlink):
        change()
        with pytest.raises(InputError, match=r"top\.webp: has changed or gone since it was listed") as caught:
            read(member)
        checked(caught.value)


def test_a_file_whose_size_changes_only(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", {"1.png": b"12"})
    [member] = list_source(source)
    before = (source / "1.png").stat()
    (source / "1.png").write_bytes(b"1")
    os.utime(source / "1.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="has changed"):
        read(member)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [member] = list_source(make_folder(tmp_path / "in", {"1.png": b"12"}))

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"in/1\.png: cannot be read \(Permission denied\)"):
        read(member)


def test_an_archive_that_is_replaced_and_listed_again(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "a.zip", {"1.png": b"old"})
    assert [read(m) for m in list_source(source)] == [b"old"]
    make_zip(source, {"0.png": b"new", "1.png": b"newer"})
    assert [read(m) for m in list_source(source)] == [b"new", b"newer"]


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar"])
def test_reading_the_start_of_a_file(name: str, tmp_path: Path) -> None:
    for member in list_source(MAKERS[name](tmp_path / name)):
        for first in (0, 1, 5, 6000, 10**6):
            assert read(member, first) == IMAGES[member.name][:first]


def test_reading_a_tar_does_not_scan_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = list_source(make_tar(tmp_path / "a.tar"))
    monkeypatch.setattr(tarfile, "open", None)
    monkeypatch.setattr(tarfile, "TarFile", None)
    assert {m.name: read(m) for m in members} == IMAGES


@pytest.mark.parametrize("name", MAKERS)
def test_spawned_workers(name: str, tmp_path: Path) -> None:
    if name not in {"set.zip", "set.TGZ"}:
        members = pickle.loads(pickle.dumps(listed(MAKERS[name](tmp_path / name))))
        assert {m.name: read(m) for m in members} == IMAGES
        return
    members = listed(MAKERS[name](tmp_path / name))
    assert len(pickle.dumps(members[0])) < 1000
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert dict(zip([m.name for m in members], pool.map(read, members), strict=True)) == IMAGES


def test_threads(tmp_path: Path) -> None:
    files = {f"{i}.png": random.Random(i).randbytes(20000) for i in range(40)}
    members = list_source(make_zip(tmp_path / "a.zip", files)) * 5
    with ThreadPoolExecutor(8) as pool:
        for member, content in zip(members, pool.map(read, members), strict=True):
            assert content == files[member.name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_a_forked_worker_opens_archives_itself(tmp_path: Path) -> None:
    """Sharing the parent's position in the file would mix up what both read."""
    [member] = list_source(make_zip(tmp_path / "a.zip", {"1.png": b"1"}))
    read(member)
    assert count_open(member.file) == 1
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert pool.submit(read, member).result() == b"1"
        assert pool.submit(count_open, member.file).result() == 2


def count_open(file: Path) -> int:
    return sum(link.readlink() == file for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


# Unpacking.


def test_unpacked_tars_keep_the_name_of_their_source(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "BSR_bsds500.tgz", {"BSR/1.png": b"1"}, "gz")
    [member] = list_source(source, unpack(source, tmp_path / "out"))
    assert (member.where, str(member.path)) == ("BSR_bsds500.tgz: BSR/1.png", "BSR_bsds500/BSR/1.png")
    with pytest.raises(ValueError, match="must be unpacked"):
        list_source(source)


def test_unpacked_tars_of_one_name_are_distinct_and_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = tmp_path / "a/set.tgz", tmp_path / "b/set.tgz"
    for source, content in ((first, b"a"), (second, b"b")):
        source.write_bytes(gzip.compress(make_tar(tmp_path / "a.tar", {"1.png": content}).read_bytes(), 0))
        os.utime(source, ns=(0, 0))
    assert first.stat().st_size == second.stat().st_size
    targets = [unpack(source, tmp_path / "out") for source in (first, second)]
    assert len(set(targets)) == 2
    assert [read(list_source(s, t)[0]) for s, t in zip((first, second), targets, strict=True)] == [b"a", b"b"]
    before = targets[0].stat()
    assert unpack(first, tmp_path / "out") == targets[0]
    after = targets[0].stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    make_tar(first, {"1.png": b"new"}, "gz")
    assert read(list_source(first, unpack(first, tmp_path / "out"))[0]) == b"new"
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_unpacking_several_streams_in_one_file(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar.x").write_bytes(compress(whole[:10000]) + compress(whole[10000:]))
    assert unpack(tmp_path / "a.tar.x", tmp_path / "out").read_bytes() == whole


def test_only_compressed_tars_are_unpacked(tmp_path: Path) -> None:
    for source in (make_tar(tmp_path / "a.tar"), make_zip(tmp_path / "a.zip"), make_folder(tmp_path / "in")):
        assert not needs_unpacking(source)
        with pytest.raises(InputError, match="not a compressed tar"):
            unpack(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_tar(tmp_path / "set.tgz", compression="gz")
    real = Path.open

    def open_full(path: Path, mode: str) -> object:
        if mode == "wb":
            real(path, mode).close()
            return real(Path("/dev/full"), mode)
        return real(path, mode)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="No space left") as caught:
        unpack(source, tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
    assert Path(caught.value.filename).parent == tmp_path / "out"
    assert not list((tmp_path / "out").iterdir())


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "set.tgz", {"1.png": random.Random(0).randbytes(3 * 10**6)}, "gz")
    source.write_bytes(source.read_bytes()[:-8] + bytes(8))
    with pytest.raises(InputError, match=r"set\.tgz: damaged or cut short \(CRC"):
        unpack(source, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_memory_stays_bounded(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "set.tgz", {f"{i}.png": bytes(4 * 2**20) for i in range(8)}, "gz")
    tracemalloc.start()
    try:
        members = listed(source)
        assert len(read(members[3])) == 4 * 2**20
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_many_members(tmp_path: Path) -> None:
    files = {f"dir{i % 100}/{i:05d}.png": b"%d" % i for i in range(15000)}
    for source in (make_zip(tmp_path / "a.zip", files, zipfile.ZIP_STORED), make_tar(tmp_path / "a.tar", files)):
        start = time.process_time()
        members = list_source(source)
        assert all(read(member) == files[member.name] for member in members[::10])
        assert len(members) == len(files)
        # Reading through the archive for every member would take minutes.
        assert time.process_time() - start < 15
