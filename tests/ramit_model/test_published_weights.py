"""Published weights on real images give their known PSNR and SSIM. Needs RAMIT_ASSETS."""

import csv
from pathlib import Path

import pytest
from helpers import REPOSITORY, recorded, run_basicsr


@pytest.mark.parametrize(
    ("recipe", "record", "scale", "weights"),
    [
        ("test_RAMiT-1_x2.yml", "RAMiT-1_x2 Set5", 2, "RAMiT-1_X2.pth"),
        ("test_RAMiT-slimSR_x4.yml", "RAMiT-slimSR_x4 Set5", 4, "RAMiT-slimSR_X4.pth"),
    ],
)
def test_set5(assets: Path, tmp_path: Path, recipe: str, record: str, scale: int, weights: str) -> None:
    overrides = [
        *(f"datasets:test_{i}=none" for i in range(2, 6)),
        f"datasets:test_1:dataroot_gt={assets / 'images/Set5/HR'}",
        f"datasets:test_1:dataroot_lq={assets / f'images/Set5/LR_bicubic/X{scale}'}",
        f"path:pretrain_network_g={assets / 'weights' / weights}",
        "num_gpu=0",
    ]
    done = run_basicsr("test", "-opt", REPOSITORY / "options" / recipe, "--force_yml", *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results" / recipe.removesuffix(".yml") / "Set5.csv").open() as file:
        measured = {row["image"]: row for row in csv.DictReader(file)}
    expected = recorded("published_metrics")[record]
    assert measured.keys() == expected.keys()
    for image, values in expected.items():
        assert float(measured[image]["psnr"]) == pytest.approx(values["psnr"], abs=1e-3), image
        assert float(measured[image]["ssim"]) == pytest.approx(values["ssim"], abs=1e-5), image
