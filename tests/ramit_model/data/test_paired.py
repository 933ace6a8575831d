"""BasicSR's data sets: the same items, patches by request, messages that name the file, checks before training."""

import random
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from helpers import photograph

from datasets_prep.bicubic import downscale
from datasets_prep.lmdb_writer import LmdbWriter
from ramit_model.data.paired import PairedRestorationDataset
from ramit_model.data.patches import PatchRequest
from ramit_model.data.reading import ImageReader
from ramit_model.data.single import SingleRestorationDataset
from ramit_model.system.errors import InputError


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for folder in ("gt", "lq"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        image = photograph(40, 48, seed=i)
        cv2.imwrite(str(tmp_path / f"gt/{i}.png"), image)
        cv2.imwrite(str(tmp_path / f"lq/{i}.png"), downscale(image, 2))
    return tmp_path


def pair_options(root: Path, **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "name": "mine",
        "phase": "train",
        "scale": 2,
        "dataroot_gt": str(root / "gt"),
        "dataroot_lq": str(root / "lq"),
        "io_backend": {"type": "disk"},
        "gt_size": 32,
        "use_hflip": True,
        "use_rot": True,
    }
    return {**options, **changes}


def paired(root: Path, **changes: Any) -> PairedRestorationDataset:
    return PairedRestorationDataset(pair_options(root, **changes))


def in_lmdb(root: Path) -> dict[str, Any]:
    """Options that take the pairs of HR.lmdb and LR.lmdb."""
    roots = {"dataroot_gt": str(root / "HR.lmdb"), "dataroot_lq": str(root / "LR.lmdb")}
    return {"io_backend": {"type": "lmdb"}, **roots}


def write_lmdbs(root: Path, pairs: dict[str, tuple[tuple[int, int], tuple[int, int]]]) -> dict[str, Any]:
    """Write black images of the sizes (GT, LQ) by key; options that take them."""
    with LmdbWriter(root / "HR.lmdb") as hr, LmdbWriter(root / "LR.lmdb") as lr:
        for key, sizes in pairs.items():
            for writer, size in zip((hr, lr), sizes, strict=True):
                writer.put(key, np.zeros((*size, 3), np.uint8))
    return in_lmdb(root)


def test_items_are_basicsrs(folders: Path) -> None:
    item = paired(folders, phase="val")[1]
    assert Path(item["gt_path"]).name == Path(item["lq_path"]).name == "1.png"
    image = cv2.cvtColor(cv2.imread(item["gt_path"]), cv2.COLOR_BGR2RGB)
    torch.testing.assert_close(item["gt"], torch.from_numpy(image / 255.0).permute(2, 0, 1).float())


COLORS = {
    "plain": {},
    "y": {"color": "y"},
    "normalised": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
    "y, normalised": {"color": "y", "mean": [0.5], "std": [0.25]},
}


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("source", ["folders", "lmdb"])
def test_test_items_are_basicsrs_bit_for_bit(
    folders: Path, tmp_path: Path, pairs: Path, source: str, color: str
) -> None:
    """Also of GT images with a row and a column more than twice those of LQ."""
    if source == "folders":
        image = photograph(41, 49, seed=9)
        cv2.imwrite(str(folders / "gt/9.png"), image)
        cv2.imwrite(str(folders / "lq/9.png"), downscale(image[:40, :48], 2))
        options = COLORS[color]
    else:
        roots = {"dataroot_gt": str(pairs / "HR.lmdb"), "dataroot_lq": str(pairs / "LR_bicubic_X2.lmdb")}
        options = {**roots, **COLORS[color]}
    backend = "disk" if source == "folders" else "lmdb"
    # BasicSR changes the block that it is given.
    own, theirs = (
        kind(pair_options(folders, phase="val", **options, io_backend={"type": backend}))
        for kind in (PairedRestorationDataset, PairedImageDataset)
    )
    expected = {theirs.paths[i]["gt_path"]: theirs[i] for i in range(len(theirs))}
    assert len(own) == len(theirs) >= 4
    for i in range(len(own)):
        item = own[i]
        wanted = expected[item["gt_path"]]
        assert item.keys() == wanted.keys()
        assert item["lq_path"] == wanted["lq_path"]
        for kind in ("lq", "gt"):
            assert item[kind].dtype == torch.float32
            assert torch.equal(item[kind], wanted[kind]), item["gt_path"]


@pytest.mark.parametrize("color", COLORS)
def test_training_items_are_basicsrs(folders: Path, color: str) -> None:
    """A patch as large as the image, not turned, leaves nothing to chance."""
    for kind, size in (("gt", 40), ("lq", 20)):
        for i in range(3):
            path = folders / kind / f"{i}.png"
            cv2.imwrite(str(path), cv2.imread(str(path))[:size, :size])
    options = {"gt_size": 40, "use_hflip": False, "use_rot": False, **COLORS[color]}
    own, theirs = (
        kind(pair_options(folders, **options, io_backend={"type": "disk"}))
        for kind in (PairedRestorationDataset, PairedImageDataset)
    )
    theirs.paths.sort(key=lambda pair: pair["gt_path"])
    for i in range(3):
        for kind in ("lq", "gt"):
            assert torch.equal(own[i][kind], theirs[i][kind])


@pytest.mark.parametrize("color", [None, "y"])
def test_a_request_says_everything(folders: Path, color: str | None) -> None:
    dataset = paired(folders, color=color)
    random.seed(1)
    one = dataset[PatchRequest(2, 12, 5)]
    random.seed(2)
    same, other = dataset[PatchRequest(2, 12, 5)], dataset[PatchRequest(2, 12, 6)]
    assert Path(one["gt_path"]).name == "2.png"
    for kind, size in (("lq", 12), ("gt", 24)):
        assert one[kind].shape == (1 if color else 3, size, size)
        assert torch.equal(one[kind], same[kind])
        assert not torch.equal(one[kind], other[kind])


def test_a_bare_index_is_drawn_anew_each_time(folders: Path) -> None:
    dataset = paired(folders)
    random.seed(0)
    one, other = dataset[0], dataset[0]
    assert not torch.equal(one["lq"], other["lq"])
    random.seed(0)
    assert torch.equal(dataset[0]["lq"], one["lq"])


def test_patches_match(folders: Path) -> None:
    dataset = paired(folders)
    for index in range(3):
        item = dataset[index]
        assert item["lq"].shape == (3, 16, 16)
        # The LQ patch is the GT patch, shrunk: away from the border they agree.
        gt = (item["gt"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        shrunk = downscale(gt, 2)[4:-4, 4:-4] / 255.0
        np.testing.assert_allclose(shrunk, item["lq"].permute(1, 2, 0).numpy()[4:-4, 4:-4], atol=0.01)


def test_order_is_by_name(folders: Path) -> None:
    names = [Path(pair["gt_path"]).name for pair in paired(folders).paths]
    assert names == sorted(names)


def damage(kind: str, root: Path) -> None:
    path = root / "lq/1.png"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "size":
        cv2.imwrite(str(path), photograph(20, 23))
    elif kind == "gone":
        path.unlink()


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["cut", "empty", "text", "size"])
@pytest.mark.parametrize("phase", ["train", "val"])
def test_a_bad_image_is_named(folders: Path, kind: str, phase: str) -> None:
    damage(kind, folders)
    with pytest.raises(InputError, match=r"data set mine: .*1\.png") as caught:
        paired(folders, phase=phase)
    assert "\n" not in caught.value.line


@pytest.mark.parametrize("workers", [1])
def test_the_line_comes_through_a_worker(folders: Path, workers: int) -> None:
    dataset = paired(folders)
    damage("cut", folders)
    with pytest.raises(InputError) as caught:
        list(torch.utils.data.DataLoader(dataset, num_workers=workers))
    assert caught.value.line.startswith("data set mine: ")
    assert caught.value.line.endswith("replace or remove it")


def test_an_image_smaller_than_the_patch(folders: Path) -> None:
    with pytest.raises(
        InputError, match=r"0\.png: 40x48 is smaller than the GT patch 64x64; remove it or take smaller"
    ):
        paired(folders, gt_size=64)[0]
    with pytest.raises(InputError, match=r"0\.png: 40x48 is smaller than the GT patch 42x42"):
        paired(folders)[PatchRequest(0, 21, 0)]


def test_missing_partner(folders: Path) -> None:
    damage("gone", folders)
    with pytest.raises(InputError, match=r"do not pair up: .*gt and .*lq: GT 1\.png has no partner;"):
        paired(folders)


def test_missing_folder(folders: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        paired(folders, dataroot_lq=str(folders / "nowhere"))


def test_empty_folders(folders: Path) -> None:
    for folder in ("gt", "lq"):
        shutil.rmtree(folders / folder)
        (folders / folder).mkdir()
    with pytest.raises(InputError, match="no image"):
        paired(folders)


def test_lmdb_with_other_keys(pairs: Path, tmp_path: Path) -> None:
    shutil.copytree(pairs, tmp_path / "copy")
    meta = tmp_path / "copy/HR.lmdb/meta_info.txt"
    meta.write_text(meta.read_text().replace("p3.png", "p33.png"))
    roots = {"dataroot_gt": str(tmp_path / "copy/HR.lmdb"), "dataroot_lq": str(tmp_path / "copy/LR_bicubic_X2.lmdb")}
    with pytest.raises(InputError, match=r"entry p3 has no partner \(and 1 more\)"):
        paired(tmp_path, io_backend={"type": "lmdb"}, **roots)
    lq_meta = tmp_path / "copy/LR_bicubic_X2.lmdb/meta_info.txt"
    lq_meta.write_text(lq_meta.read_text().replace("p3.png", "p33.png"))
    with pytest.raises(InputError, match="entry p33: is not there"):
        paired(tmp_path, io_backend={"type": "lmdb"}, **roots)


def test_single_images(folders: Path) -> None:
    options = {"name": "photos", "dataroot_lq": str(folders / "lq"), "io_backend": {"type": "disk"}}
    assert SingleRestorationDataset(options)[0]["lq"].shape == (3, 20, 24)
    damage("cut", folders)
    dataset = SingleRestorationDataset(options)
    path = str(folders / "lq/1.png")
    line = f"data set photos: {path}: is cut short or damaged, or of an unusual kind; replace it, or save it as PNG"
    assert dataset[1] == {"problem": line, "lq_path": path}
    assert "lq" in dataset[2]


# Checks before a training ---------------------------------------------------------------------------------------------


def test_good_pairs_pass(folders: Path, pairs: Path) -> None:
    paired(folders).check_images(20)
    roots = {"dataroot_gt": str(pairs / "HR.lmdb"), "dataroot_lq": str(pairs / "LR_bicubic_X2.lmdb")}
    paired(folders, io_backend={"type": "lmdb"}, **roots).check_images(20)


def test_small_pairs_are_found_on_disk(folders: Path) -> None:
    cv2.imwrite(str(folders / "gt/1.png"), photograph(36, 64))
    cv2.imwrite(str(folders / "lq/1.png"), photograph(18, 32))
    dataset = paired(folders)
    dataset.check_images(18)
    with pytest.raises(InputError) as caught:
        dataset.check_images(19)
    assert str(caught.value) == (
        f"data set mine: {folders / 'gt/1.png'}: 36x64 is smaller than the GT patch 38x38; remove it or take smaller "
        "patches"
    )


def test_small_pairs_are_found_in_an_lmdb(tmp_path: Path) -> None:
    dataset = paired(tmp_path, **write_lmdbs(tmp_path, {"a": ((40, 48), (20, 24)), "b": ((64, 36), (32, 18))}))
    dataset.check_images(18)
    with pytest.raises(InputError) as caught:
        dataset.check_images(19)
    assert str(caught.value) == (
        f"data set mine: {tmp_path / 'HR.lmdb'}, entry b: 64x36 is smaller than the GT patch 38x38; remove it or take "
        "smaller patches"
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("size", [(19, 24), (20, 25), (24, 20)])
def test_pairs_that_do_not_match_are_found_on_disk(folders: Path, size: tuple[int, int]) -> None:
    cv2.imwrite(str(folders / "lq/2.png"), photograph(*size))
    with pytest.raises(InputError) as caught:
        paired(folders).check_images(8)
    height, width = size
    line = (
        f"data set mine: {folders / 'gt/2.png'}: GT is 40x48, but LQ {height}x{width} times scale 2 is "
        f"{2 * height}x{2 * width}"
    )
    assert str(caught.value) == line
    with pytest.raises(InputError) as caught:
        paired(folders)[2]
    assert str(caught.value) == line


def test_pairs_that_do_not_match_are_found_in_an_lmdb(tmp_path: Path) -> None:
    options = write_lmdbs(tmp_path, {"a": ((40, 48), (20, 24)), "b": ((41, 48), (20, 24))})
    with pytest.raises(InputError, match=r"HR\.lmdb, entry b: GT is 41x48, but LQ 20x24 times scale 2 is 40x48"):
        paired(tmp_path, **options)
    # In a test, what GT has more is cut off.
    assert paired(tmp_path, phase="val", **in_lmdb(tmp_path))[1]["gt"].shape == (3, 40, 48)


def test_other_lines_in_the_list_of_an_lmdb(tmp_path: Path) -> None:
    """Keys with blanks, hyphens and folders, and a line without a size."""
    keys = ["holiday 1", "0001_s001", "a-b", "folder/b"]
    options = write_lmdbs(tmp_path, dict.fromkeys(keys, ((40, 48), (20, 24))))
    for name in ("HR", "LR"):
        meta_info = tmp_path / f"{name}.lmdb/meta_info.txt"
        meta_info.write_text(meta_info.read_text().replace("a-b.png (", "a-b.png ") + "\n")
    dataset = paired(tmp_path, **options)
    assert [dataset.gt_sizes.get(key) for key in keys] == [(40, 48), (40, 48), None, (40, 48)]
    dataset.check_images(20)


def exif(orientation: int) -> PIL.Image.Exif:
    data = PIL.Image.Exif()
    data[0x0112] = orientation
    return data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_sizes_are_those_of_the_decoded_images(tmp_path: Path, kind: str, orientation: int) -> None:
    """Cameras say in EXIF how a photograph is to be turned, and OpenCV does so, in some of the formats."""
    path = tmp_path / f"turned.{kind.lower()}"
    PIL.Image.fromarray(photograph(40, 48)).save(path, kind, exif=exif(orientation))
    reader = ImageReader({"name": "x", "io_backend": {"type": "disk"}, "dataroot_gt": str(tmp_path)}, ("gt",))
    size = reader.check([str(path)], "gt").sizes[str(path)]
    assert size in (None, reader.read(str(path), "gt").shape[:2])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_photographs_are_not_refused(folders: Path, orientation: int) -> None:
    """GT as the camera wrote it, LQ made from it without EXIF."""
    for path in folders.glob("*/*.png"):
        path.unlink()
    gt_path = folders / "gt/photo.jpg"
    PIL.Image.fromarray(photograph(40, 48)).save(gt_path, exif=exif(orientation), quality=95)
    gt = cv2.imread(str(gt_path))
    assert gt.shape == ((48, 40, 3) if orientation > 4 else (40, 48, 3))
    cv2.imwrite(str(folders / "lq/photo.jpg"), downscale(gt, 2))
    dataset = paired(folders)
    dataset.check_images(20)
    assert dataset[PatchRequest(0, 20, 0)]["gt"].shape == (3, 40, 40)
    with pytest.raises(InputError, match="is smaller than the GT patch"):
        dataset.check_images(21)


def test_a_very_large_image_is_no_mistake(tmp_path: Path) -> None:
    """Pillow takes images of more than 179 million pixels for an attack; OpenCV reads up to 2**30."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path = tmp_path / "panorama.png"
    header = struct.pack(">IIBBBBB", 20000, 10000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", bytes(10**5))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b""))
    reader = ImageReader({"name": "x", "io_backend": {"type": "disk"}, "dataroot_gt": str(tmp_path)}, ("gt",))
    assert reader.check([str(path)], "gt").sizes == {str(path): (10000, 20000)}
