"""Folders of photos: LQ that is made on the fly, sides of the split, what is left out, and what is said."""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers import photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from datasets_prep.bicubic import crop_to_multiple, downscale
from ramit_model.data.clean import CleanImageDataset
from ramit_model.data.paired import PairedRestorationDataset
from ramit_model.data.patches import PatchRequest, random_cut
from ramit_model.data.photos import PhotoDataset
from ramit_model.data.reading import to_tensor
from ramit_model.system.errors import InputError

SIZES = {"a.png": (61, 74), "trip/b.png": (50, 93), "trip/c.png": (80, 49), "trip/far/d.png": (66, 66)}


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def fill(folder: Path) -> dict[str, np.ndarray]:
    """Write the photos of SIZES; returns them, BGR."""
    pictures = {name: photograph(*size, seed=seed) for seed, (name, size) in enumerate(SIZES.items())}
    for name, picture in pictures.items():
        save(folder / name, picture)
    return pictures


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded photos are kept below the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(tmp_path / "photos")
    return tmp_path / "photos"


def photos(root: Path, phase: str = "val", **changes: Any) -> PhotoDataset:
    options: dict[str, Any] = {"name": "mine", "phase": phase, "scale": 2, "dataroot_gt": str(root)}
    if phase == "train":
        options |= {"use_hflip": True, "use_rot": True, "gt_size": 24}
    return PhotoDataset({**options, **changes})


# LQ and GT ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, fill(folder)


@settings(max_examples=150, deadline=None)
@given(
    scale=st.integers(2, 4),
    shrink=st.integers(1, 2),
    index=st.integers(0, len(SIZES) - 1),
    size=st.integers(1, 6),
    seed=st.integers(0, 2**64),
)
def test_an_lr_patch_is_that_part_of_the_lr_of_the_whole_photo(
    whole: tuple[Path, dict[str, np.ndarray]], scale: int, shrink: int, index: int, size: int, seed: int
) -> None:
    folder, pictures = whole
    options = {"scale": scale, "shrink": shrink, "gt_size": 6 * scale, "cache_gb": 0}
    dataset = photos(folder, "train", **options)
    request = PatchRequest(index, size, seed)
    item = dataset[request]
    gt = pictures[list(SIZES)[index]]
    gt = downscale(crop_to_multiple(gt, shrink), shrink)
    lq = downscale(crop_to_multiple(gt, scale), scale)
    cut = random_cut(*lq.shape[:2], request, request.generator(), hflip=True, rot=True)
    assert torch.equal(item["lq"], to_tensor(cut.turned(lq[cut.window()])))
    assert torch.equal(item["gt"], to_tensor(cut.turned(gt[cut.window(scale)])))
    assert item["gt"].shape == (3, size * scale, size * scale)


def requests() -> list[PatchRequest]:
    return [PatchRequest(index, 10, 7 * seed) for index in range(len(SIZES)) for seed in range(3)]


def check_same(one: Any, other: Any) -> None:
    for request in requests():
        for kind in ("lq", "gt"):
            assert torch.equal(one[request][kind], other[request][kind])


TRAINING = {"name": "mine", "phase": "train", "use_hflip": True, "use_rot": True, "io_backend": {"type": "disk"}}


def flat(folder: Path, images: dict[str, np.ndarray], name: Callable[[str], str] = str) -> str:
    """Write images of a set of ours that reads no sub-folders, in the order of the photos."""
    for key, image in images.items():
        save(folder / f"{name(Path(key).stem)}.png", image)
    return str(folder)


@pytest.mark.parametrize("scale", [2, 3])
def test_super_resolution_is_that_of_prepared_pairs(root: Path, tmp_path: Path, scale: int) -> None:
    gt = {name: crop_to_multiple(cv2.imread(str(root / name)), scale) for name in SIZES}
    lq = {name: downscale(image, scale) for name, image in gt.items()}
    roots = {"dataroot_gt": flat(tmp_path / "HR", gt), "dataroot_lq": flat(tmp_path / "LR", lq)}
    prepared = PairedRestorationDataset({**TRAINING, **roots, "scale": scale, "gt_size": 10 * scale})
    check_same(photos(root, "train", scale=scale), prepared)
    evaluated = PairedRestorationDataset({**TRAINING, **roots, "scale": scale, "phase": "val"})
    here = photos(root, scale=scale)
    for index in range(len(SIZES)):
        assert torch.equal(here[index]["lq"], evaluated[index]["lq"])
        assert torch.equal(here[index]["gt"], evaluated[index]["gt"])


@pytest.mark.parametrize("color", ["gray", None])
def test_denoising_is_that_of_clean_images(root: Path, tmp_path: Path, color: str | None) -> None:
    clean_root = flat(tmp_path / "GT", {name: cv2.imread(str(root / name)) for name in SIZES})
    options = {"color": color, "sigma": [0, 50], "scale": 1}
    check_same(photos(root, "train", **options), CleanImageDataset({**TRAINING, "dataroot_gt": clean_root, **options}))
    options["sigma"] = 25
    here = photos(root, **options)
    there = CleanImageDataset({**TRAINING, "phase": "val", "dataroot_gt": clean_root, **options})
    for index in range(len(SIZES)):
        assert torch.equal(here[index]["lq"], there[index]["lq"])


def test_two_folders_are_those_of_the_paired_set(tmp_path: Path) -> None:
    bright = {name: photograph(*size, seed=seed) for seed, (name, size) in enumerate(SIZES.items())}
    dark = {name: picture // 4 for name, picture in bright.items()}
    roots = {"dataroot_gt": flat(tmp_path / "bright", bright, "normal-{}".format)}
    roots["dataroot_lq"] = flat(tmp_path / "dark", dark, "low-{}".format)
    here = photos(tmp_path / "bright", "train", scale=1, dataroot_lq=roots["dataroot_lq"])
    check_same(here, PairedRestorationDataset({**TRAINING, **roots, "scale": 1, "gt_size": 10}))
    assert (
        "data set mine: 4 pairs, paired by names without words such as normal and low, clean and noisy" in here.remarks
    )
    # A photo and what belongs to it are on the same side.
    held = photos(tmp_path / "bright", scale=1, dataroot_lq=roots["dataroot_lq"], held_out=2)
    assert [photo.gt.replace("normal", "low") for photo in held.photos] == [photo.lq for photo in held.photos]
    assert len(held) == 2


def test_a_validation_takes_the_centre(root: Path) -> None:
    dataset = photos(root, crop=20)
    item, lq = dataset[0], downscale(crop_to_multiple(cv2.imread(str(root / "a.png")), 2), 2)
    assert torch.equal(item["lq"], to_tensor(lq[5:25, 8:28]))  # of 30x37
    assert torch.equal(item["gt"], to_tensor(cv2.imread(str(root / "a.png"))[10:50, 16:56]))
    assert photos(root, crop=26)[1]["lq"].shape == (3, 25, 26)  # of 25x46: what is there


def test_a_validation_reads_noise_at_the_centre(root: Path) -> None:
    item = photos(root, scale=1, sigma=25, crop=16)[0]
    assert item["lq"].shape == item["gt"].shape == (3, 16, 16)
    assert (item["lq"] - item["gt"]).std().item() * 255 == pytest.approx(25, rel=0.15)


def test_exif_says_what_is_up(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    for name in "abc":
        picture = Pillow.fromarray(photograph(40, 64)[..., ::-1].copy())
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture.save(tmp_path / f"photos/{name}.JPG", exif=exif, quality=95)
    dataset = photos(tmp_path / "photos", scale=1, sigma=0)
    assert dataset[0]["gt"].shape == (3, 64, 40)
    assert set(dataset.gt_sizes.values()) == {(64, 40)}


# Reading --------------------------------------------------------------------------------------------------------------


def test_a_photo_is_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, plain = photos(root, "train"), photos(root, "train", cache_gb=0)
    decoded: list[str] = []
    read = dataset.reader.read
    monkeypatch.setattr(dataset.reader, "read", lambda path, kind: decoded.append(path) or read(path, kind))
    for _ in range(2):
        check_same(dataset, plain)
    assert sorted(decoded) == sorted(dataset.gt_paths)
    # Another training finds them.
    again = photos(root, "train", gt_size=30)
    monkeypatch.setattr(again.reader, "read", lambda *_: pytest.fail("decoded again"))
    check_same(again, plain)
    # What is made of them in another way is another thing.
    check_same(photos(root, "train", shrink=2), photos(root, "train", shrink=2, cache_gb=0))


def test_workers_take_the_same(root: Path) -> None:
    dataset = photos(root, "train")
    batches = [requests()[:4], requests()[4:8], requests()[8:]]
    there = list(torch.utils.data.DataLoader(dataset, batch_sampler=batches, num_workers=2))
    here = list(torch.utils.data.DataLoader(dataset, batch_sampler=batches))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one["lq"], other["lq"])
        assert torch.equal(one["gt"], other["gt"])


def test_the_seed_says_everything(root: Path) -> None:
    dataset = photos(root, "train", scale=1, sigma=[0, 50])
    random.seed(1)
    torch.manual_seed(1)
    one = dataset[PatchRequest(1, 20, 7)]
    random.seed(2)
    torch.manual_seed(2)
    assert torch.equal(dataset[PatchRequest(1, 20, 7)]["lq"], one["lq"])
    assert not torch.equal(dataset[PatchRequest(1, 20, 8)]["lq"], one["lq"])


def test_a_photo_that_has_changed(root: Path) -> None:
    dataset = photos(root, "train")
    before = dataset[PatchRequest(0, 10, 1)]["gt"]
    save(root / "a.png", 255 - cv2.imread(str(root / "a.png")))
    assert torch.equal(dataset[PatchRequest(0, 10, 1)]["gt"], to_tensor(255 - _bgr(before)))
    save(root / "a.png", photograph(40, 40))
    with pytest.raises(InputError, match=r"data set mine: .*a\.png: has another size than before; start again"):
        dataset[PatchRequest(0, 10, 1)]


def _bgr(tensor: torch.Tensor) -> np.ndarray:
    return (tensor * 255).round().byte().numpy().transpose(1, 2, 0)[..., ::-1]


# Sides ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", ["tenth", 1, 3])
def test_training_and_validation_share_the_photos(root: Path, held_out: str | int) -> None:
    sides = [photos(root, phase, held_out=held_out, gt_size=24) for phase in ("train", "val")]
    trained, validated = ([photo.gt for photo in side.photos] for side in sides)
    assert sorted(trained + validated) == sorted(SIZES)
    assert len(validated) == (1 if held_out == "tenth" else held_out)
    assert f"{len(trained)} photos to train on, {len(validated)} held out: " in "\n".join(sides[0].remarks)
    assert sides[0].remarks[0].endswith(", ".join(sorted(validated)))
    assert not sides[1].remarks


def test_all_held_out_photos_are_named_in_the_log(root: Path, log: list[logging.LogRecord]) -> None:
    dataset = photos(root, held_out=3), photos(root, "train", held_out=3)
    lines = [record.getMessage() for record in log if getattr(record, "file_only", False)]
    assert lines == [f"data set mine: held out: {name}" for name in sorted(photo.gt for photo in dataset[0].photos)]


def test_small_photos_are_left_out_on_both_sides(root: Path) -> None:
    for name in ("s.png", "t.png"):
        save(root / name, photograph(23, 60))
    train = photos(root, "train", held_out="tenth")
    val = photos(root, held_out="tenth", gt_size=24)
    names = {photo.gt for side in (train, val) for photo in side.photos}
    assert names == set(SIZES)
    line = "data set mine: 2 photos left out, smaller than a GT patch of 24x24: s.png, t.png"
    assert line in train.remarks
    half = photos(root, "train", shrink=2)
    assert "smaller than a GT patch of 24x24 after shrink 2: s.png, t.png" in half.remarks[0]


def test_names_of_results(root: Path) -> None:
    save(root / "a.jpg", photograph(60, 60))
    assert photos(root).names == ["a.jpg", "a.png", "trip_b.png", "trip_c.png", "trip_far_d.png"]


# What is said ---------------------------------------------------------------------------------------------------------


def test_bad_ideas(root: Path) -> None:
    few = "data set mine: 5 photos are few: the network may get worse at all others; some 50 are better"
    jpeg = "data set mine: 1 of 5 photos are JPEG, and their artefacts are learned as if they were detail; "
    save(root / "e.JPG", photograph(60, 60))
    said = photos(root, "train").remarks
    assert few in said
    assert jpeg + "shrink: 2 halves the photos first" in said
    assert not [line for line in photos(root, "train", shrink=2).remarks if "JPEG" in line]
    for name in "fghij":
        save(root / f"{name}.png", photograph(60, 60))
    assert not [line for line in photos(root, "train").remarks if "few" in line]


def test_what_8_bits_lose_and_what_is_no_photo(root: Path) -> None:
    save(root / "deep.png", photograph(60, 60).astype(np.uint16) * 257)
    (root / "trip/notes.txt").write_text("rain all day")
    (root / ".hidden").mkdir()
    save(root / ".hidden/x.png", photograph(60, 60))
    said = photos(root, "train").remarks
    assert "data set mine: 1 file left out, being no picture: trip/notes.txt" in said
    assert "data set mine: 1 picture read as 8-bit RGB without 16 bits of 1 (names in the log)" in said


def test_where_decoded_photos_are(root: Path, tmp_path: Path) -> None:
    said = photos(root, "train").remarks[-1]
    assert said == "data set mine: decoded once, kept in experiments/.decoded: 5.2e-05 GB; may be deleted"
    assert (tmp_path / "experiments/.decoded").is_dir()
    said = photos(root, "train", cache_gb=30e-6, cache_folder="here").remarks[-1]
    assert said.startswith("data set mine: 2 of 4 photos find no room there and are decoded for each patch")
    assert photos(root, "train", cache_gb=0).remarks[-1].endswith("some 50 are better")


# Mistakes -------------------------------------------------------------------------------------------------------------


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        photos(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.bad_input
def test_folders_without_photos(tmp_path: Path) -> None:
    (tmp_path / "photos/sub").mkdir(parents=True)
    (tmp_path / "photos/film.mp4").write_bytes(b"film")
    line = f"data set mine: no photo in {tmp_path / 'photos'}; 1 file left out, being no picture: film.mp4"
    assert refused(tmp_path / "photos", "train") == line
    assert refused(tmp_path / "nowhere", "train").startswith(f"data set mine: {tmp_path / 'nowhere'}: ")


@pytest.mark.bad_input
@pytest.mark.parametrize("phase", ["train", "val"])
def test_a_single_photo_cannot_be_held_out(tmp_path: Path, phase: str) -> None:
    save(tmp_path / "photos/a.png", photograph(60, 60))
    assert refused(tmp_path / "photos", phase, held_out="tenth") == (
        f"data set mine: {tmp_path / 'photos'}: held_out: 1 of 1 photo for validation would leave none to train on; "
        "add photos, or train without validation (held_out: 0, --force_yml datasets:val=none)"
    )


@pytest.mark.bad_input
def test_more_cannot_be_held_out_than_there_are(root: Path) -> None:
    assert "held_out: 4 of 4 photos for validation" in refused(root, "train", held_out=4)


@pytest.mark.bad_input
def test_photos_that_are_all_too_small(root: Path) -> None:
    line = refused(root, "train", gt_size=100)
    assert line.startswith(f"data set mine: {root}: 4 photos left out, smaller than a GT patch of 100x100: a.png, ")
    assert line.endswith("; none remains")


@pytest.mark.bad_input
@pytest.mark.parametrize("phase", ["train", "val"])
def test_a_damaged_photo_is_named_before_anything_runs(root: Path, phase: str) -> None:
    (root / "trip/b.png").write_bytes((root / "trip/b.png").read_bytes()[:300])
    assert refused(root, phase).startswith(f"data set mine: {root / 'trip/b.png'}: is cut short or damaged")


@pytest.mark.bad_input
def test_pairs_that_do_not_fit(root: Path, tmp_path: Path) -> None:
    fill(tmp_path / "dark")
    options = {"scale": 1, "dataroot_lq": str(tmp_path / "dark")}
    assert len(photos(root, "train", **options)) == 4
    assert "is dataroot_gt and dataroot_lq" in refused(root, "train", **{**options, "dataroot_lq": str(root)})
    save(tmp_path / "dark/a.png", photograph(60, 74))
    assert refused(root, "train", **options) == (
        f"data set mine: {root / 'a.png'}: GT is 61x74, but LQ 60x74 times scale 1 is 60x74"
    )
    (tmp_path / "dark/trip/b.png").unlink()
    assert "LQ and GT do not pair up" in refused(root, "train", **options)
    assert "GT trip/b.png has no partner" in refused(root, "train", **options)


@pytest.mark.bad_input
def test_no_place_for_decoded_photos(root: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert "taken: is a file, where a folder is needed" in refused(root, "train", cache_folder="taken")
