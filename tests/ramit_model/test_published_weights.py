"""Published weights on real images give their known PSNR and SSIM. Needs RAMIT_ASSETS."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import REPOSITORY, metrics, recorded, run_basicsr


def measured(recipe: str, overrides: list[str], root: Path) -> Path:
    """Run a test recipe; the folder of its results."""
    arguments = ["test", "-opt", REPOSITORY / "options" / recipe, "--force_yml", *overrides]
    done = run_basicsr(*arguments, "num_gpu=0", "val:save_img=false", cwd=root)
    assert done.returncode == 0, done.stderr
    return root / "results" / recipe.removesuffix(".yml")


def check(table: Path, record: str, images: set[str] | None = None) -> None:
    """Every image of a CSV, and the average, against the recorded metrics of the published code.

    With `images`, only these were tested, and there is no average to compare with.
    """
    with table.open() as file:
        values = {row["image"]: row for row in csv.DictReader(file)}
    expected = recorded("published_metrics")[record]
    if images:
        del values["average"]
        expected = {image: expected[image] for image in images}
    assert values.keys() == expected.keys()
    for image, wanted in expected.items():
        assert float(values[image]["psnr"]) == pytest.approx(wanted["psnr"], abs=1e-3), image
        assert float(values[image]["ssim"]) == pytest.approx(wanted["ssim"], abs=1e-5), image


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
    ]
    check(measured(recipe, overrides, tmp_path) / "Set5.csv", record)


def test_ngswin_on_set5(assets: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    options = {
        "name": "NGswin",
        "model_type": "RestorationModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "network_g": {"type": "NGswin", "scale": 2},
        "datasets": {
            "test": {
                "name": "Set5",
                "type": "PairedRestorationDataset",
                "dataroot_gt": str(assets / "images/Set5/HR"),
                "dataroot_lq": str(assets / "images/Set5/LR_bicubic/X2"),
                "filename_tmpl": "{}x2",
                "io_backend": {"type": "disk"},
            }
        },
        "path": {"pretrain_network_g": str(assets / "weights/NGswin_x2.pth"), "strict_load_g": True},
        "val": {"save_img": False, "metrics": metrics()},
    }
    done = run_basicsr("test", "-opt", write_options(options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results/NGswin/Set5.csv").open() as file:
        average = next(row for row in csv.DictReader(file) if row["image"] == "average")
    # The paper's own table, which rounds.
    assert float(average["psnr"]) == pytest.approx(38.05, abs=0.01)
    assert float(average["ssim"]) == pytest.approx(0.9610, abs=1e-4)


def test_low_light(assets: Path, tmp_path: Path) -> None:
    overrides = [
        "datasets:test_2=none",
        f"datasets:test_1:dataroot_gt={assets / 'images/LOL5/high'}",
        f"datasets:test_1:dataroot_lq={assets / 'images/LOL5/low'}",
        f"path:pretrain_network_g={assets / 'weights/RAMiT-slimLLE_LLE.pth'}",
    ]
    check(measured("test_RAMiT-slimLLE_LLE.yml", overrides, tmp_path) / "LOL.csv", "RAMiT-slimLLE_LLE LOL5")


def test_colour_denoising(assets: Path, tmp_path: Path) -> None:
    """One option gives three noise levels; the noise is that of the published tests, number by number."""
    names = tmp_path / "names.txt"  # two of six: each is restored three times
    names.write_text("".join(f"{next((assets / 'images/McMaster6').glob(f'{i}.*')).name}\n" for i in (1, 13)))
    overrides = [
        *(f"datasets:test_{i}=none" for i in (1, 2, 4)),
        f"datasets:test_3:meta_info_file={names}",
        f"datasets:test_3:dataroot_gt={assets / 'images/McMaster6'}",
        f"path:pretrain_network_g={assets / 'weights/RAMiT-1_CDN.pth'}",
    ]
    results = measured("test_RAMiT-1_CDN.yml", overrides, tmp_path)
    for sigma in (15, 25, 50):
        check(results / f"McMaster_sigma{sigma}.csv", f"RAMiT-1_CDN McMaster6 sigma{sigma}", images={"1", "13"})
