"""The demo's picture and option files; the README's first command runs the rest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_prep.demo_set import VALIDATION_CROPS, prepare_demo_set
from ramit_model.commands.demo import ZOOM, _read_lmdb, draw_comparison, recipe_folder


def test_comparison_picture(tmp_path: Path) -> None:
    prepare_demo_set(tmp_path / "datasets/demo")
    results = tmp_path / "results/demo"
    (results / "visualization/demo").mkdir(parents=True)
    gt = _read_lmdb(tmp_path / "datasets/demo/val/HR.lmdb")
    for name, image in gt.items():
        image.save(results / f"visualization/demo/{name}_result.png")
    (results / "demo.csv").write_text("image,psnr,ssim\n" + "".join(f"{name},40.0,1.0\n" for name in gt))
    bicubic = draw_comparison(tmp_path, tmp_path / "demo.png")
    assert 30 < bicubic < 36
    picture = np.asarray(Image.open(tmp_path / "demo.png"))
    _, _, height, width = VALIDATION_CROPS["coffee"]
    assert picture.shape[1] > 3 * width * ZOOM
    # The results here are the ground truth: the second and the third picture of the first row are equal.
    _, _, height, width = VALIDATION_CROPS["chelsea"]
    second, third = (picture[20 : 20 + height, 16 + i * (width * ZOOM + 16) :][:, : width * ZOOM] for i in (1, 2))
    np.testing.assert_array_equal(second, third)


@pytest.mark.parametrize("name", ["train_demo.yml", "test_demo.yml"])
def test_option_files_are_found(name: str) -> None:
    assert (recipe_folder() / name).is_file()
