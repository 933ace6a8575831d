"""The option files are what their one source writes, and they pass the checks but for data that is not here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from helpers import REPOSITORY

from ramit_model import options
from ramit_model.options import load_options


@pytest.fixture(scope="module")
def recipes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipes", REPOSITORY / "options/recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_up_to_date(recipes: ModuleType) -> None:
    assert recipes.main(REPOSITORY / "options", check=True) == 0
    assert {name for name, _ in recipes.option_files()} == {p.name for p in (REPOSITORY / "options").glob("*.yml")}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "options").glob("*.yml")), ids=lambda p: p.name)
def test_files_pass_every_check(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "_check_dataroot", lambda *_: None)
    loaded = load_options(path, is_train=path.name.startswith("train"), forced=["path:pretrain_network_g=none"])
    assert loaded["name"] in (path.stem, "demo")


def test_published_x2_schedule() -> None:
    """Rate at chosen iterations of the 500,000, by the scheduler and the warm-up that the trainer uses."""
    import torch
    from basicsr.models.lr_scheduler import MultiStepRestartLR

    train = options.read_yaml(REPOSITORY / "options/train_RAMiT_x2.yml")["train"]
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=train["optim_g"]["lr"])
    arguments = {key: value for key, value in train["scheduler"].items() if key != "type"}
    scheduler = MultiStepRestartLR(optimizer, **arguments)
    optimizer.step()
    rates, wanted = {}, {1, 200000, 200001, 300001, 400001, 425001, 450001, 475001, 500000}
    for iteration in range(1, train["total_iter"] + 1):
        if iteration > 1:
            scheduler.step()
        if iteration in wanted:
            rates[iteration] = optimizer.param_groups[0]["lr"]
    halvings = {1: 0, 200000: 0, 200001: 1, 300001: 2, 400001: 3, 425001: 4, 450001: 5, 475001: 6, 500000: 6}
    assert rates == pytest.approx({iteration: 4e-4 * 0.5**n for iteration, n in halvings.items()})
    assert train["warmup_iter"] == 20000
