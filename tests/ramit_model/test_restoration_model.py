"""RestorationModel: padding, modes, loading, validation, checkpoints."""

import csv
from copy import deepcopy
from pathlib import Path
from typing import Any

from ramit_arch import RAMiT

import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img
from helpers import TINY, testing_options, training_options

from ramit_model.errors import InputError
from ramit_model.image_datasets import PairedRestorationDataset, SingleRestorationDataset
from ramit_model.padding import pad_symmetric
from ramit_model.restoration_model import RestorationModel


def tiny_network() -> RAMiT:
    return RAMiT(**{key: value for key, value in TINY.items() if key != "type"})


def model(options: dict[str, Any], root: Path, *, is_train: bool) -> RestorationModel:
    options = deepcopy(options) | {"is_train": is_train, "dist": False, "rank": 0, "world_size": 1}
    for key in ("models", "training_states", "visualization", "results_root"):
        options["path"][key] = str(root / key)
        (root / key).mkdir(exist_ok=True)
    torch.manual_seed(0)
    return RestorationModel(options)


@pytest.fixture
def trainer(pairs: Path, tmp_path: Path) -> RestorationModel:
    return model(training_options(pairs), tmp_path, is_train=True)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (24, 33), (64, 32)])
def test_test_pads_symmetrically_and_crops(trainer: RestorationModel, size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size)
    trainer.feed_data({"lq": x})
    trainer.test()
    assert trainer.output.shape == (1, 3, size[0] * 2, size[1] * 2)
    with torch.no_grad():
        whole = trainer.net_g.eval()(pad_symmetric(x, 32))
    torch.testing.assert_close(trainer.output, whole[..., : size[0] * 2, : size[1] * 2])


@pytest.mark.parametrize("training", [True, False])
def test_test_leaves_the_mode_as_it_was(trainer: RestorationModel, training: bool) -> None:
    trainer.net_g.train(training)
    trainer.feed_data({"lq": torch.rand(1, 3, 8, 8)})
    trainer.test()
    assert trainer.net_g.training is training
    assert not trainer.output.requires_grad


def test_a_network_without_size_unit_is_not_padded(pairs: Path, tmp_path: Path) -> None:
    options = training_options(pairs)
    options["network_g"] = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    trainer = model(options, tmp_path, is_train=True)
    x = torch.rand(1, 3, 9, 7)
    trainer.feed_data({"lq": x})
    trainer.test()
    with torch.no_grad():
        torch.testing.assert_close(trainer.output, trainer.net_g(x))


@pytest.mark.parametrize("ema_decay", [0, 0.9])
@pytest.mark.parametrize("bare", [True, False])
def test_loads_published_and_basicsr_files(pairs: Path, tmp_path: Path, bare: bool, ema_decay: float) -> None:
    torch.manual_seed(1)
    weights = tiny_network().state_dict()
    torch.save(weights if bare else {"params": weights}, tmp_path / "w.pth")
    options = training_options(pairs)
    options["path"]["pretrain_network_g"] = str(tmp_path / "w.pth")
    options["train"]["ema_decay"] = ema_decay
    trainer = model(options, tmp_path, is_train=True)
    for net in (trainer.net_g, trainer.net_g_ema) if ema_decay else (trainer.net_g,):
        torch.testing.assert_close(dict(net.state_dict()), dict(weights))


def test_strict_and_lenient_loading(pairs: Path, tmp_path: Path) -> None:
    weights = tiny_network().state_dict()
    weights["to_target.conv.weight"] = torch.zeros(48, 16, 3, 3)
    torch.save(weights, tmp_path / "w.pth")
    options = training_options(pairs)
    options["path"]["pretrain_network_g"] = str(tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"to_target\.conv\.weight is 48x16x3x3 in the file"):
        model(options, tmp_path, is_train=True)
    options["path"]["strict_load_g"] = False
    loaded = model(options, tmp_path, is_train=True).net_g.state_dict()
    torch.testing.assert_close(loaded["shallow.conv.weight"], weights["shallow.conv.weight"])
    assert loaded["to_target.conv.weight"].shape == (12, 16, 3, 3)


def test_warm_up_reaches_the_full_rate(trainer: RestorationModel) -> None:
    rates = []
    for iteration in range(1, 9):
        trainer.optimizer_g.step()
        trainer.update_learning_rate(iteration, warmup_iter=3)
        rates.append(trainer.get_current_learning_rate()[0])
    # Milestone 6 takes effect at iteration 7.
    assert rates == pytest.approx([0.001 / 3, 0.002 / 3, 0.001, 0.001, 0.001, 0.001, 0.0005, 0.0005])


def test_checkpoints_are_basicsrs_and_whole(trainer: RestorationModel, tmp_path: Path) -> None:
    trainer.save(epoch=1, current_iter=7)
    trainer.save(epoch=-1, current_iter=-1)
    assert {p.name for p in (tmp_path / "models").iterdir()} == {"net_g_7.pth", "net_g_latest.pth"}
    assert {p.name for p in (tmp_path / "training_states").iterdir()} == {"7.state"}
    saved = torch.load(tmp_path / "models/net_g_7.pth", weights_only=True)
    torch.testing.assert_close(saved["params"], dict(trainer.net_g.state_dict()))
    state = torch.load(tmp_path / "training_states/7.state", weights_only=True)
    assert (state["epoch"], state["iter"]) == (1, 7)
    trainer.resume_training(state)


def test_validation_of_a_set(pairs: Path, tmp_path: Path) -> None:
    tester = model(testing_options(pairs), tmp_path, is_train=False)
    dataset_options = {**testing_options(pairs)["datasets"]["test"], "phase": "test", "scale": 2}
    loader = torch.utils.data.DataLoader(PairedRestorationDataset(dataset_options))
    tester.validation(loader, "tiny", None, save_img=True)
    with (tmp_path / "results_root/pairs.csv").open() as file:
        rows = {row["image"]: (float(row["psnr"]), float(row["ssim"])) for row in csv.DictReader(file)}
    assert list(rows) == [f"p{i}" for i in range(9)] + ["average"]
    # Each row against BasicSR's metric on what the network gives, from the definition.
    for item in PairedRestorationDataset({**dataset_options, "io_backend": {"type": "lmdb"}}):
        lq = item["lq"][None]
        with torch.no_grad():
            y = tester.net_g.eval()(pad_symmetric(lq, 32))[..., : lq.shape[2] * 2, : lq.shape[3] * 2]
        expected = calculate_psnr(tensor2img(y), tensor2img(item["gt"]), crop_border=2, test_y_channel=True)
        assert rows[item["gt_path"]][0] == pytest.approx(expected, abs=1e-6)
    mean = sum(psnr for name, (psnr, _) in rows.items() if name != "average") / 9
    assert rows["average"][0] == pytest.approx(mean, abs=1e-5)
    assert len(list((tmp_path / "visualization/pairs").glob("*_tiny.png"))) == 9


def test_a_set_without_gt_between_training_steps(pairs: Path, tmp_path: Path) -> None:
    """The ground truth of the last training batch is not taken for the image's own."""
    trainer = model(training_options(pairs), tmp_path, is_train=True)
    trainer.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)})
    options = {"name": "photos", "dataroot_lq": str(pairs / "LR_bicubic_X2.lmdb"), "io_backend": {"type": "lmdb"}}
    trainer.validation(torch.utils.data.DataLoader(SingleRestorationDataset(options)), 4, None, save_img=True)
    assert (tmp_path / "visualization/photos/p0/p0_4.png").is_file()
    assert not hasattr(trainer, "metric_results")


def test_same_names_in_two_sets_do_not_overwrite_each_other(pairs: Path, tmp_path: Path) -> None:
    trainer = model(training_options(pairs), tmp_path, is_train=True)
    for name in ("one", "two"):
        options = {**training_options(pairs)["datasets"]["val"], "name": name, "phase": "val", "scale": 2}
        loader = torch.utils.data.DataLoader(PairedRestorationDataset(options))
        trainer.validation(loader, 4, None, save_img=True)
    assert (tmp_path / "visualization/one/p0/p0_4.png").is_file()
    assert (tmp_path / "visualization/two/p0/p0_4.png").is_file()
