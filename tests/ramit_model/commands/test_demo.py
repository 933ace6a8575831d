"""The demo's picture and option files; the README's first command runs the rest."""

import copy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_prep.demo_set import VALIDATION_CROPS, prepare_demo_set
from ramit_model.commands import demo
from ramit_model.commands.demo import ZOOM, _read_lmdb, choose_length, draw_comparison, recipe_folder
from ramit_model.config.option_file import override, read_yaml


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


# Length of the training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pace", "iterations"), [(0.01, 2000), (0.075, 2000), (0.1, 1500), (0.26, 560), (7.0, 20), (100.0, 20)]
)
def test_the_length_fits_the_machine(
    pace: float, iterations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "seconds_per_iteration", lambda options: pace)
    options = read_yaml(recipe_folder() / "train_demo.yml")
    length = choose_length(options, tmp_path / "length.json")
    assert length.iterations == iterations
    forced = copy.deepcopy(options)
    override(forced, length.options(), "train_demo.yml")
    milestones = forced["train"]["scheduler"]["milestones"]
    assert milestones == sorted(set(milestones)) and milestones[-1] < iterations
    assert iterations % forced["val"]["val_freq"] == 0
    if iterations == 2000:  # as the option file has it
        assert forced == options


def test_an_interrupted_demo_keeps_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "seconds_per_iteration", lambda options: 0.5)
    options = read_yaml(recipe_folder() / "train_demo.yml")
    first = choose_length(options, tmp_path / "length.json")
    monkeypatch.setattr(demo, "seconds_per_iteration", lambda options: 0.1)
    assert choose_length(options, tmp_path / "length.json") == first
    (tmp_path / "length.json").write_text('{"iterations": 3')
    assert choose_length(options, tmp_path / "length.json").iterations == 1500


def test_an_iteration_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TRIAL", 0.0)
    assert 0 < demo.seconds_per_iteration(read_yaml(recipe_folder() / "train_demo.yml")) < 60
