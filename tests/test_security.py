"""Attempts to get more out of files than data: code, memory, a full disk, files elsewhere; see SECURITY.md."""

import bz2
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from awkward import png_chunk, png_header
from fuzz_guard import watched
from helpers import TINY, changed, photograph, testing_options, training_options
from safetensors.torch import save_file

from datasets_prep import archives
from datasets_prep.checking import check
from datasets_prep.families import FAMILIES
from datasets_prep.headers import size_in_header
from datasets_prep.image_files import Treatment, decode, encode_png
from datasets_prep.image_formats import ImageError
from datasets_prep.preparation import Settings, prepare
from datasets_prep.sources import look_into, unpack
from ramit_model.config.option_file import override, read_yaml
from ramit_model.config.options import load_options
from ramit_model.data.clean import CleanImageDataset
from ramit_model.data.paired import PairedRestorationDataset
from ramit_model.data.photos import PhotoDataset
from ramit_model.data.single import SingleRestorationDataset
from ramit_model.inference.opened import open_network
from ramit_model.inference.pictures.picture import PictureError
from ramit_model.inference.pictures.reading import read_picture
from ramit_model.inference.weights import read_weight_file
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically
from ramit_model.training.resume import load_resume_state

MEBIBYTE = 2**20

# Code -----------------------------------------------------------------------------------------------------------------


class Code:
    """Pickled, it makes a folder when it is read as an ordinary pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def in_data_of_another_kind(content: Any, path: Path) -> None:
    """A file of torch.save from before 1.6, which is a sequence of pickles."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


CONTAINERS: dict[str, Callable[[Any, Path], None]] = {
    **{
        f"pickle {protocol}": lambda content, path, protocol=protocol: path.write_bytes(pickle.dumps(content, protocol))
        for protocol in (0, 2, 4, 5)
    },
    "torch": torch.save,
    "torch before 1.6": in_data_of_another_kind,
}


@pytest.mark.bad_input
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.ckpt", "w.safetensors", "w.bin"])
def test_weights_run_no_code(container: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    CONTAINERS[container]({"params": {"a.weight": torch.ones(1)}, "extra": Code()}, tmp_path / name)
    for read in (read_weight_file, open_network):
        with pytest.raises(InputError, match=r"will not be opened|broken") as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


@pytest.mark.bad_input
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("auto_resume", [False, True])
def test_training_states_run_no_code(
    container: str, auto_resume: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("experiments", "run", "training_states", "4.state")
    path.parent.mkdir(parents=True)
    CONTAINERS[container]({"epoch": 0, "iter": 4, "optimizers": [Code()], "schedulers": []}, path)
    opt = {"name": "run", "rank": 0, "auto_resume": auto_resume, "path": {"resume_state": str(path)}}
    with pytest.raises(InputError):
        load_resume_state({**opt, "datasets": {"train": {"type": "x"}}})
    assert not Path("executed").exists()


TAGS = [
    "!!python/object/apply:os.mkdir [executed]",
    "!!python/object/new:os.mkdir [executed]",
    "!!python/object:builtins.object {}",
    "!!python/name:os.mkdir",
    "!!python/module:os",
    "!!python/tuple [1]",
    "!custom x",
]


@pytest.mark.bad_input
@pytest.mark.parametrize("tag", TAGS)
def test_option_files_run_no_code(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("o.yml").write_text(f"name: {tag}\n")
    with pytest.raises(InputError, match="is refused: option files are plain data"):
        read_yaml("o.yml")
    with pytest.raises(InputError, match="not valid YAML"):
        override({"scale": 2}, [f"scale={tag}"], "o.yml")
    assert not Path("executed").exists()


# Weights that claim more than they hold -------------------------------------------------------------------------------


def safetensors(header: dict[str, Any] | bytes, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


HOSTILE_SAFETENSORS = {
    "header of 2^62 bytes": safetensors({"a": tensor([1], 0, 4)}, bytes(4), 2**62),
    "header of 512 GB": safetensors({"a": tensor([1], 0, 4)}, bytes(4), 2**39),
    "header longer than the file": safetensors({"a": tensor([1], 0, 4)}, b"", 10**6),
    "header of nothing": safetensors(b"", b""),
    "overlapping": safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "the same bytes twice": safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)}, bytes(8)),
    "offsets behind the end": safetensors({"a": tensor([2], 0, 2**40)}, bytes(8)),
    "shape larger than its bytes": safetensors({"a": tensor([2**40], 0, 8)}, bytes(8)),
    "shape that overflows": safetensors({"a": tensor([2**33, 2**33], 0, 8)}, bytes(8)),
    "offsets backwards": safetensors({"a": tensor([1], 4, 0)}, bytes(4)),
    "a gap": safetensors({"a": tensor([1], 4, 8)}, bytes(8)),
    "more data than said": safetensors({"a": tensor([1], 0, 4)}, bytes(8)),
    "nested header": safetensors(b"{" + b'"a":{' * 20000 + b"}" * 20001, b""),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", HOSTILE_SAFETENSORS)
def test_hostile_safetensors(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(HOSTILE_SAFETENSORS[kind])
    refused = False
    with watched(tmp_path, (), 64 * MEBIBYTE, lines=False):
        try:
            read_weight_file(path)
        except InputError:
            refused = True
    assert refused


def test_parts_of_a_checkpoint_that_are_the_same_bytes(tmp_path: Path) -> None:
    """A hundred entries of the directory that stand for one part, and so for a hundred times its size in memory."""
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(10**5)}, path)
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<HII", content, end + 10)
    directory = content[start : start + size]
    entry = next(part for part in directory.split(b"PK\x01\x02")[1:] if b"data/0" in part)
    copies = directory + (b"PK\x01\x02" + entry) * 100
    tail = bytearray(content[end:])
    struct.pack_into("<HHI", tail, 8, count + 100, count + 100, len(copies))
    path.write_bytes(content[:start] + copies + tail)
    with pytest.raises(InputError, match=r"w\.pth: is an archive whose parts claim more than it holds"):
        read_weight_file(path)


# Archives -------------------------------------------------------------------------------------------------------------


def test_a_compressed_tar_that_unpacks_to_far_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_SIZE", 2 * MEBIBYTE)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("bomb.png")
        info.size = 16 * MEBIBYTE
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    source = tmp_path / "bomb.tar.bz2"
    source.write_bytes(bz2.compress(file.getvalue()))
    assert source.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"bomb\.tar\.bz2: unpacks to more than 100 times its size"):
        unpack(source, tmp_path / "unpacked")
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_nothing_of_an_archive_is_extracted(tmp_path: Path) -> None:
    """Whatever their names and kinds: members are read in place."""
    image = encode_png(photograph(16, 16), 1)
    source = tmp_path / "in" / "a.tar"
    source.parent.mkdir()
    with tarfile.open(source, "w") as archive:
        for name, kind in (("ok.png", tarfile.REGTYPE), ("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", len(image) * (kind == tarfile.REGTYPE)
            archive.addfile(info, io.BytesIO(image))
        device = tarfile.TarInfo("device.png")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    assert [member.name for member in look_into(source).members] == ["ok.png"]
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.tar"]


def test_a_zip_of_which_two_members_are_one(tmp_path: Path) -> None:
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("1.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("1.png", b"y")
    with pytest.raises(InputError, match=r"1\.png: is there 2 times"):
        look_into(source)


# Pictures that claim gigapixels ---------------------------------------------------------------------------------------


def claiming(kind: str) -> bytes:
    """Picture of about a hundred bytes that claims 25 thousand rows and columns."""
    if kind == "png":
        return png_header(25_000, 25_000) + png_chunk(b"IDAT", b"x") + png_chunk(b"IEND", b"")
    content = bytearray(cv2.imencode(f".{kind}", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    if kind == "bmp":
        struct.pack_into("<ii", content, 18, 25_000, 25_000)
    elif kind == "jpg":
        struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, 25_000, 25_000)
    else:
        for tag in (256, 257):
            place = next(
                i for i in range(len(content)) if content[i : i + 4] in (struct.pack("<HH", tag, k) for k in (3, 4))
            )
            struct.pack_into("<HII", content, place + 2, 4, 1, 25_000)
    return bytes(content)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tiff"])
def test_pictures_that_claim_gigapixels(kind: str, tmp_path: Path) -> None:
    content = claiming(kind)
    assert len(content) < 1000
    assert size_in_header(content) in ((25_000, 25_000), None)
    for name in ("gt", "lq"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"x.{kind}").write_bytes(content)
    opt = {"name": "x", "phase": "test", "sigma": 5, "scale": 1, "io_backend": {"type": "disk"}}
    roots = {"dataroot_gt": str(tmp_path / "gt"), "dataroot_lq": str(tmp_path / "lq")}
    readers: list[Callable[[], object]] = [
        lambda: read_picture(content),
        lambda: decode(content, Treatment()),
        lambda: CleanImageDataset(opt | roots)[0],
        lambda: PairedRestorationDataset(opt | roots)[0],
        lambda: SingleRestorationDataset(opt | roots)[0],
        lambda: PhotoDataset(opt | roots)[0],
    ]
    for read in readers:
        refused = False
        with watched(tmp_path, (), 256 * MEBIBYTE, lines=False):
            try:
                found = read()
                refused = isinstance(found, dict) and "claims" in found["problem"]
            except (InputError, ImageError, PictureError):
                refused = True
        assert refused


# Files elsewhere ------------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/b", "a\\b", ".x", "a\nb"])
def test_names_in_option_files_stay_in_the_results(name: str, pairs: Path, write_options: Callable[..., Path]) -> None:
    training, test = training_options(pairs), testing_options(pairs)
    for options, key in (
        (training, "name"),
        (training, "datasets.val.name"),
        (test, "datasets.test.name"),
        (test, "val.suffix"),
    ):
        with pytest.raises(InputError, match=f"{key.rpartition('.')[2]}: .*folder") as caught:
            load_options(write_options(changed(options, key, name)), is_train=options is training)
        assert "\n" not in str(caught.value)


def prepared(folder: Path) -> Path:
    """Set5 of two images and of a third that is damaged, so that its preparation is unfinished; returns the sources."""
    photos = folder / "photos" / "Set5" / "HR"
    photos.mkdir(parents=True)
    for i in range(3):
        (photos / f"{i}.png").write_bytes(encode_png(photograph(12, 18, seed=i), 1))
    (photos / "2.png").write_bytes((photos / "2.png").read_bytes()[:-30])
    return folder / "photos"


@pytest.mark.parametrize("key", ["../../../victim", "/victim", "..", "a/../../../../victim"])
def test_a_journal_names_no_files_elsewhere(key: str, tmp_path: Path) -> None:
    photos, out = prepared(tmp_path), tmp_path / "out"
    settings = Settings(scales=(2,), jobs=1, incomplete=True)
    with pytest.raises(InputError, match="kept for the next call"):
        prepare(FAMILIES["Set5"], [("", photos)], out, settings)
    victims = [tmp_path / "out" / "victim.png", tmp_path / "out" / "Set5" / "victim.png", tmp_path / "victim.png"]
    for victim in victims:
        victim.write_text("mine")
    (journal,) = out.rglob("journal.jsonl")
    lines = journal.read_text().splitlines()
    stale = ["gone", "another signature", {"gt": [[key, [1, 1, 3], "00"]], "x2": [[key, [1, 1, 3], "00"]]}, []]
    journal.write_text("\n".join([*lines, json.dumps(stale)]) + "\n")
    with pytest.raises(InputError):
        prepare(FAMILIES["Set5"], [("", photos)], out, settings)
    assert all(victim.read_text() == "mine" for victim in victims)


@pytest.mark.bad_input
@pytest.mark.parametrize("key", ["../../secret", "/secret", "..\\secret", "", "a\nb"])
def test_a_manifest_names_no_files_elsewhere(key: str, tmp_path: Path) -> None:
    photos, out = prepared(tmp_path), tmp_path / "out"
    (photos / "Set5" / "HR" / "2.png").unlink()
    prepare(FAMILIES["Set5"], [("", photos)], out, Settings(scales=(2,), jobs=1, incomplete=True))
    path = out / "Set5" / "HR" / ".manifest.jsonl"
    header, first, *rest = path.read_text().splitlines()
    record = json.loads(first)
    path.write_text("\n".join([header, json.dumps([key, *record[1:]]), *rest]) + "\n")
    (found,) = [found for found in check(out / "Set5" / "HR", jobs=1) if found.path == out / "Set5" / "HR"]
    assert found.problems == [f"{path}:2: broken; prepare the set again with --force"]


@pytest.mark.bad_input
@pytest.mark.parametrize("key", ["../../../../etc/passwd", "/etc/passwd", "p0/../p0"])
def test_the_list_of_an_lmdb_names_no_files(key: str, pairs: Path, tmp_path: Path) -> None:
    for name in ("HR.lmdb", "LR_bicubic_X2.lmdb"):
        shutil.copytree(pairs / name, tmp_path / name)
        (tmp_path / name / "meta_info.txt").write_text(f"{key}.png (48,48,3) 1\n")
    opt = {"name": "x", "phase": "test", "scale": 2, "sigma": 5, "io_backend": {"type": "lmdb"}}
    roots = {"dataroot_gt": str(tmp_path / "HR.lmdb"), "dataroot_lq": str(tmp_path / "LR_bicubic_X2.lmdb")}
    for kind in (PairedRestorationDataset, CleanImageDataset):
        with pytest.raises(InputError, match=r"is not there|names no entry"):
            kind(opt | roots)[0]
    try:
        assert "is not there" in SingleRestorationDataset(opt | roots)[0]["problem"]
    except InputError as error:
        assert "names no entry" in str(error)


def test_results_replace_links_and_do_not_follow_them(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "out.png"
    victim.write_text("mine")
    link.symlink_to(victim)
    write_atomically(b"result", link)
    assert victim.read_text() == "mine"
    assert not link.is_symlink()
    assert link.read_bytes() == b"result"


def test_weights_in_safetensors_are_read_as_they_are(tmp_path: Path) -> None:
    """The other tests would pass if nothing was read at all."""
    save_file({"a": torch.arange(3.0)}, tmp_path / "w.safetensors")
    assert read_weight_file(tmp_path / "w.safetensors").weights["a"].tolist() == [0, 1, 2]
    (tmp_path / "o.yml").write_text(yaml.safe_dump({"name": "x", "network_g": TINY}))
    assert read_yaml(tmp_path / "o.yml")["network_g"] == TINY
