"""Clean images from folders, lists and LMDBs; noise of the tests and of the training; bad and small images."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from helpers import photograph

from datasets_prep.lmdb_writer import LmdbWriter
from ramit_model.data.clean import CleanImageDataset
from ramit_model.data.patches import PatchRequest
from ramit_model.system.errors import InputError

SIZES = {"a": (40, 48), "b": (33, 36), "c": (48, 40)}


def picture(name: str) -> np.ndarray:
    return photograph(*SIZES[name], seed=ord(name))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """GT/ with three images, GT.lmdb with the same, and a list of two of them, last one first."""
    (tmp_path / "GT").mkdir()
    with LmdbWriter(tmp_path / "GT.lmdb") as writer:
        for name in ("c", "a", "b"):
            cv2.imwrite(str(tmp_path / f"GT/{name}.png"), picture(name))
            writer.put(name, picture(name))
    (tmp_path / "list.txt").write_text("c.png (48,40,3)\na.png\n\n")
    return tmp_path


SOURCES: dict[str, dict[str, Any]] = {
    "folder": {"dataroot_gt": "GT", "io_backend": {"type": "disk"}},
    "list": {"dataroot_gt": "GT", "io_backend": {"type": "disk"}, "meta_info_file": "list.txt"},
    "lmdb": {"dataroot_gt": "GT.lmdb", "io_backend": {"type": "lmdb"}},
}


def clean(root: Path, source: str = "folder", **changes: Any) -> CleanImageDataset:
    options: dict[str, Any] = {"name": "mine", "phase": "val", "sigma": 25, **SOURCES[source], **changes}
    for key in ("dataroot_gt", "meta_info_file"):
        if key in options:
            options[key] = str(root / options[key])
    return CleanImageDataset(options)


def training(root: Path, source: str = "folder", **changes: Any) -> CleanImageDataset:
    options = {"phase": "train", "sigma": [0, 50], "gt_size": 16, "use_hflip": True, "use_rot": True}
    return clean(root, source, **{**options, **changes})


def tensor(name: str, *, gray: bool = False) -> torch.Tensor:
    """The clean image as the network shall get it, from the definition."""
    image = picture(name)
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if gray:
        return torch.from_numpy(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[None] / np.float32(255))
    return torch.from_numpy(rgb.transpose(2, 0, 1) / np.float32(255))


# Where the images come from -------------------------------------------------------------------------------------------


def test_it_is_registered() -> None:
    assert DATASET_REGISTRY.get("CleanImageDataset") is CleanImageDataset


@pytest.mark.parametrize("source", SOURCES)
def test_images_are_found_in_order(root: Path, source: str) -> None:
    dataset = clean(root, source)
    names = [Path(dataset[i]["gt_path"]).stem for i in range(len(dataset))]
    assert names == (["c", "a"] if source == "list" else ["a", "b", "c"])


def test_hidden_files_are_no_images(root: Path) -> None:
    (root / "GT/.listing").write_text("hidden")
    assert len(clean(root)) == 3


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("color", ["gray", None])
def test_items_of_a_test(root: Path, source: str, color: str | None) -> None:
    """GT is the image; LQ has the noise of the published tests, seeded anew for each image."""
    dataset = clean(root, source, sigma=50, **({"color": color} if color else {}))
    torch.manual_seed(99)
    for index in range(len(dataset)):
        item = dataset[index]
        assert item["lq_path"] == item["gt_path"] == dataset.paths[index]
        expected = tensor(Path(item["gt_path"]).stem, gray=color == "gray")
        assert item["gt"].dtype == item["lq"].dtype == torch.float32
        assert torch.equal(item["gt"], expected)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            assert torch.equal(item["lq"], expected + torch.randn(*expected.shape) * 50 / 255)
        assert item["lq"].min() < 0
        assert item["lq"].max() > 1


def test_a_gray_file_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "GT").mkdir()
    image = picture("a")[..., 0]
    cv2.imwrite(str(tmp_path / "GT/a.png"), image)
    gt = clean(tmp_path, color="gray")[0]["gt"]
    assert torch.equal((gt * 255).round().byte()[0], torch.from_numpy(image))


# Training -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("color", "channels"), [("gray", 1), (None, 3)])
def test_the_seed_says_everything(root: Path, source: str, color: str | None, channels: int) -> None:
    dataset = training(root, source, color=color)
    random.seed(1)
    torch.manual_seed(1)
    one = dataset[PatchRequest(1, 20, 7)]
    random.seed(2)
    torch.manual_seed(2)
    same, other = dataset[PatchRequest(1, 20, 7)], dataset[PatchRequest(1, 20, 8)]
    for kind in ("lq", "gt"):
        assert one[kind].shape == (channels, 20, 20)
        assert torch.equal(one[kind], same[kind])
        assert not torch.equal(one[kind], other[kind])
    assert not torch.equal(one["lq"] - one["gt"], other["lq"] - other["gt"])


def test_a_training_patch_is_part_of_its_image(root: Path) -> None:
    dataset = training(root, use_hflip=False, use_rot=False)
    for seed in range(5):
        for index, name in enumerate("abc"):
            gt, image = dataset[PatchRequest(index, 16, seed)]["gt"], tensor(name)
            places = image.unfold(1, 16, 1).unfold(2, 16, 1)  # C, top, left, 16, 16
            assert (places == gt[:, None, None]).all(-1).all(-1).all(0).sum() == 1


@pytest.mark.parametrize("color", ["gray", None])
def test_the_whole_image_as_patch(tmp_path: Path, color: str | None) -> None:
    (tmp_path / "GT").mkdir()
    image = photograph(24, 24, seed=5)
    cv2.imwrite(str(tmp_path / "GT/a.png"), image)
    dataset = training(tmp_path, use_hflip=False, use_rot=False, color=color)
    item = dataset[PatchRequest(0, 24, 3)]
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[None] if color else rgb.transpose(2, 0, 1)
    assert torch.equal(item["gt"], torch.from_numpy(expected / np.float32(255)))


def test_one_level_for_all(root: Path) -> None:
    dataset = training(root, sigma=[25, 25])
    for seed in range(20):
        item = dataset[PatchRequest(seed % 3, 32, seed)]
        assert (item["lq"] - item["gt"]).std().item() * 255 == pytest.approx(25, rel=0.08)


def test_levels_of_the_training(root: Path) -> None:
    dataset = training(root)
    items = [dataset[PatchRequest(seed % 3, 32, seed)] for seed in range(600)]
    levels = torch.stack([(item["lq"] - item["gt"]).std() * 255 for item in items])
    assert levels.mean().item() == pytest.approx(25, abs=3)
    assert levels.min() < 2
    assert 48 < levels.max() < 53
    in_fifths = torch.histc(levels, bins=5, min=0, max=50)
    assert ((in_fifths - 120).abs() < 5 * (600 * 0.2 * 0.8) ** 0.5).all(), in_fifths.tolist()
    assert any(item["lq"].min() < -0.2 for item in items)


def test_a_bare_index_takes_the_patch_size_of_the_options(root: Path) -> None:
    dataset = training(root)
    random.seed(0)
    one, other = dataset[1], dataset[1]
    assert one["gt"].shape == (3, 16, 16)
    assert not torch.equal(one["lq"] - one["gt"], other["lq"] - other["gt"])
    random.seed(0)
    assert torch.equal(dataset[1]["lq"], one["lq"])


@pytest.mark.parametrize("source", ["folder", "lmdb"])
def test_a_worker_takes_the_same(root: Path, source: str) -> None:
    dataset = training(root, source)
    batches = [[PatchRequest(0, 16, 1), PatchRequest(2, 16, 2)], [PatchRequest(1, 24, 3), PatchRequest(0, 24, 4)]]
    here = list(torch.utils.data.DataLoader(dataset, batch_sampler=batches))
    there = list(torch.utils.data.DataLoader(dataset, batch_sampler=batches, num_workers=1))
    assert [batch["lq"].shape for batch in here] == [(2, 3, 16, 16), (2, 3, 24, 24)]
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one["lq"], other["lq"])
        assert torch.equal(one["gt"], other["gt"])


# Mistakes -------------------------------------------------------------------------------------------------------------


KINDS = ["cut", "empty", "text", "gone"]


def damaged(root: Path, source: str, kind: str) -> str:
    """Damage image b; what the message shall call it."""
    content = {"cut": (root / "GT/b.png").read_bytes()[:200], "empty": b"", "text": b"no picture", "gone": None}[kind]
    if source == "folder":
        path = root / "GT/b.png"
        path.unlink() if content is None else path.write_bytes(content)
        return str(path)
    environment = lmdb.open(str(root / "GT.lmdb"))
    with environment.begin(write=True) as transaction:
        transaction.delete(b"b")
        if content is not None:
            transaction.put(b"b", content)
    environment.close()
    return f"{root / 'GT.lmdb'}, entry b"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("source", "kind"), [*(("folder", kind) for kind in KINDS), *(("lmdb", kind) for kind in KINDS[:3])]
)
@pytest.mark.parametrize("make", [clean, training])
def test_a_bad_image_is_named(
    root: Path, make: Callable[[Path, str], CleanImageDataset], source: str, kind: str
) -> None:
    if source == "folder":
        dataset, where = make(root, source), damaged(root, source, kind)
    else:
        where = damaged(root, source, kind)
        dataset = make(root, source)
    with pytest.raises(InputError) as caught:
        dataset[1]
    what = "cannot be decoded as an image; replace or remove it"
    if (source, kind) == ("folder", "gone"):
        what = "no such file; correct the list"
    assert str(caught.value) == f"data set mine: {where}: {what}"
    dataset[0]
    dataset[2]


HEADERS = {
    "cut": "is cut short or damaged, or of an unusual kind; replace it, or save it as PNG",
    "empty": "is empty; replace or remove it",
    "text": "cannot be decoded as an image; replace or remove it",
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("make", [clean, training])
def test_a_bad_image_is_named_before_anything_runs(
    root: Path, make: Callable[[Path, str], CleanImageDataset], kind: str
) -> None:
    where = damaged(root, "folder", kind)
    with pytest.raises(InputError) as caught:
        make(root, "folder")
    assert str(caught.value) == f"data set mine: {where}: {HEADERS[kind]}"


def test_a_missing_entry_is_named_before_anything_runs(root: Path) -> None:
    where = damaged(root, "lmdb", "gone")
    with pytest.raises(InputError) as caught:
        training(root, "lmdb")
    assert str(caught.value) == f"data set mine: {where}: is not there; prepare the LMDB again"


@pytest.mark.parametrize("source", ["folder", "lmdb"])
def test_small_images_are_found_before_training(root: Path, source: str) -> None:
    """Without decoding any; image b has 33x36."""
    dataset = training(root, source, gt_size=34)
    dataset.check_images(33)
    where = f"{root / 'GT.lmdb'}, entry b" if source == "lmdb" else str(root / "GT/b.png")
    line = f"data set mine: {where}: 33x36 is smaller than the GT patch 34x34; remove it or take smaller patches"
    with pytest.raises(InputError) as caught:
        dataset.check_images(34)
    assert str(caught.value) == line
    with pytest.raises(InputError) as caught:
        dataset[1]
    assert str(caught.value) == line
    with pytest.raises(InputError) as caught:
        dataset[PatchRequest(1, 34, 0)]
    assert str(caught.value) == line


def test_small_images_with_a_blank_in_their_name_are_found_too(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "GT.lmdb") as writer:
        writer.put("holiday 1", picture("a"))
        writer.put("holiday 2", picture("b"))
    dataset = training(tmp_path, "lmdb")
    assert dataset.paths == ["holiday 1", "holiday 2"]
    dataset[1]
    with pytest.raises(InputError, match="entry holiday 2: 33x36 is smaller"):
        dataset.check_images(34)


def test_only_images_of_a_list_are_looked_at(root: Path) -> None:
    training(root, "list").check_images(40)
    with pytest.raises(InputError, match=r"c\.png: 48x40 is smaller than the GT patch 41x41"):
        training(root, "list").check_images(41)


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "GT").mkdir()
    with pytest.raises(InputError) as caught:
        clean(tmp_path)
    assert str(caught.value) == f"data set mine: no image in {tmp_path / 'GT'}"


def test_empty_list_and_empty_lmdb(root: Path) -> None:
    (root / "list.txt").write_text("\n\n")
    (root / "GT.lmdb/meta_info.txt").write_text("")
    for source in ("list", "lmdb"):
        with pytest.raises(InputError, match="data set mine: no image in"):
            clean(root, source)


@pytest.mark.bad_input
@pytest.mark.parametrize("source", ["folder", "lmdb"])
def test_missing_folder(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError) as caught:
        clean(tmp_path, source)
    message = str(caught.value)
    assert message.startswith("data set mine: ")
    assert "No such file or directory" in message
    assert str(tmp_path / SOURCES[source]["dataroot_gt"]) in message
    assert "\n" not in message


def test_a_list_of_what_is_not_there(root: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("nobody.png\n")
    with pytest.raises(InputError, match=r"nobody\.png: no such file; correct the list"):
        clean(root, "list", meta_info_file=str(tmp_path / "names.txt"))[0]


def test_missing_list(root: Path) -> None:
    with pytest.raises(InputError, match=r"data set mine: .*nowhere\.txt: No such file or directory"):
        clean(root, "list", meta_info_file="nowhere.txt")


def test_an_lmdb_without_data(root: Path) -> None:
    (root / "GT.lmdb/data.mdb").unlink()
    with pytest.raises(InputError, match=r"data set mine: .*GT\.lmdb cannot be opened: ") as caught:
        clean(root, "lmdb")[0]
    assert "\n" not in str(caught.value)
