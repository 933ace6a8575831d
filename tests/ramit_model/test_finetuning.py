"""Fine-tuning on a folder of photos by the option file that is shipped, as users run it; the network alone is tiny."""

import re
from pathlib import Path

import cv2
import pytest
import torch
from helpers import REPOSITORY, TINY, fill, photograph, run_basicsr

from ramit_arch import RAMiT

OPTIONS = REPOSITORY / "options/finetune_RAMiT_x2.yml"
SIZE = {key: value for key, value in TINY.items() if key not in ("type", "scale")}
SHORT = [
    *(f"network_g:{key}={value}" for key, value in SIZE.items()),
    *("datasets:train:dataroot_gt=photos", "datasets:train:gt_size=32", "datasets:train:batch_size_per_gpu=2"),
    *("train:total_iter=6", "train:warmup_iter=-1", "logger:save_checkpoint_freq=3", "logger:use_tb_logger=false"),
    *("val:val_freq=6", "num_gpu=0"),
]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["params"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Folder with photos of several kinds and published weights of a tiny network."""
    (tmp_path / "photos/trip").mkdir(parents=True)
    for number in range(11):
        folder = "photos/trip" if number % 2 else "photos"
        suffix = "JPG" if number % 3 else "png"
        size = (20, 90) if number == 4 else (50 + number, 70 - number)
        assert cv2.imwrite(str(tmp_path / f"{folder}/p {number}.{suffix}"), photograph(*size, seed=number))
    (tmp_path / "weights").mkdir()
    network = fill(RAMiT(variant="RAMiT-1", task="SR", scale=2, **SIZE))
    torch.save(network.state_dict(), tmp_path / "weights/RAMiT-1_X2.pth")
    return tmp_path


def test_a_folder_and_nothing_else(home: Path) -> None:
    """Goes on from the weights that are found by name, says what it does, and resumes bit for bit."""
    unbroken = run_basicsr("train", "-opt", OPTIONS, "--force_yml", *SHORT, cwd=home)
    assert unbroken.returncode == 0, unbroken.stderr
    said = unbroken.stderr + unbroken.stdout
    for line in (
        "1 photo left out, smaller than a GT patch of 32x32: p 4.JPG",
        "9 photos to train on, 1 held out: ",
        "9 photos are few",
        "photos are JPEG, and their artefacts are learned as if they were detail; shrink: 2",
        f"Loading RAMiT from {Path('weights/RAMiT-1_X2.pth')}.",
    ):
        assert line in said, line
    assert re.findall(r"validation at (\d+), held_out: psnr [\d.]+, ssim [\d.]+", said) == ["0", "6"]
    assert len(list((home / "experiments/.decoded").iterdir())) == 9

    broken = [*SHORT, "name=broken"]
    first = ["train:total_iter=3", "datasets:train:num_worker_per_gpu=0", "val:at_start=false"]
    done = run_basicsr("train", "-opt", OPTIONS, "--force_yml", *broken, *first, cwd=home)
    assert done.returncode == 0, done.stderr
    done = run_basicsr("train", "-opt", OPTIONS, "--auto_resume", "--force_yml", *broken, cwd=home)
    assert done.returncode == 0, done.stderr
    whole, parts = (
        weights(home / f"experiments/{name}/models/net_g_6.pth") for name in ("finetune_RAMiT_x2", "broken")
    )
    begun = torch.load(home / "weights/RAMiT-1_X2.pth", weights_only=True)
    assert any(not torch.equal(whole[key], begun[key]) for key in whole)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.bad_input
def test_what_cannot_be_trained_on(home: Path) -> None:
    """One line and exit code 2, before anything is trained."""
    (home / "empty").mkdir()
    x4 = REPOSITORY / "options/finetune_RAMiT_x4.yml"
    (home / "weights/RAMiT-1_X4.pth").write_bytes((home / "weights/RAMiT-1_X2.pth").read_bytes())
    for options, changes, line in (
        (OPTIONS, ["datasets:train:dataroot_gt=empty"], "data set photos: no photo in empty"),
        (x4, [], "check network_g (variant, task, scale)"),
    ):
        done = run_basicsr("train", "-opt", options, "--force_yml", *SHORT, *changes, cwd=home)
        assert done.returncode == 2, done.stderr
        assert line in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
