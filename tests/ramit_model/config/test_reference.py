"""JSON schema and tables of the options: current, complete, and as strict as the checks about misspelt options."""

import inspect
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import REPOSITORY, changed
from jsonschema import Draft7Validator
from pydantic import BaseModel

from ramit_arch import NGswin, RAMiT
from ramit_model.benchmark import schema as benchmark_schema
from ramit_model.config import schema

FOLDER = REPOSITORY / "options"
JSON_SCHEMA = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
FILES = sorted(FOLDER.glob("*.yml"))


def errors(options: Any) -> list[str]:
    return [error.message for error in Draft7Validator(JSON_SCHEMA).iter_errors(options)]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def test_the_schema_is_a_schema() -> None:
    Draft7Validator.check_schema(JSON_SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_files_are_valid(path: Path) -> None:
    assert not errors(read(path.name))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_files_name_the_schema_first(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    comment, _, reference = first.partition("$schema=")
    assert comment == "# yaml-language-server: "
    assert (path.parent / reference).samefile(FOLDER / "schema.json")


TRAIN, TEST, BENCHMARK = "train_RAMiT_GDN.yml", "test_NGswin_x3.yml", "benchmark_x2.yml"
MISTAKES = {
    "top": (TRAIN, "netwrok_g", {}),
    "in train": (TRAIN, "train.total_iters", 5),
    "in a stage": (TRAIN, "train.progressive.iter", [1]),
    "in the scheduler": (TRAIN, "train.scheduler.gama", 0.5),
    "no losses": (TRAIN, "train.losses", []),
    "a loss without type": (TRAIN, "train.losses", [{"type": "L1Loss"}, {"name": "x"}]),
    "a threshold that skips most": (TRAIN, "train.skip_above", 1),
    "in the cosine": (TRAIN, "train.scheduler", {"type": "CosineAnnealingLR", "t_max": 5}),
    "unknown scheduler": (TRAIN, "train.scheduler.type", "StepLR"),
    "in a training set": (TRAIN, "datasets.train.sub_image", True),
    "name of a data set": (TRAIN, "datasets.validation", {}),
    "a test set in a training": (TRAIN, "datasets.test_1", {}),
    "in val": (TRAIN, "val.save_image", True),
    "in logger": (TRAIN, "logger.print_frequency", 5),
    "in RAMiT": (TRAIN, "network_g.depth", [2]),
    "unknown variant": (TRAIN, "network_g.variant", "RAMiT-2"),
    "number as text": (TRAIN, "train.total_iter", "5e5"),
    "level out of range": (TRAIN, "datasets.train.sigma", [0, 256]),
    "missing": (TRAIN, "train.optim_g", ...),
    "in NGswin": (TEST, "network_g.window", 8),
    "in a test set": (TEST, "datasets.test_1.dataroot_hq", "x"),
    "sub-images in a test": (TEST, "datasets.test_1.sub_images", True),
    "in path": (TEST, "path.pretrained_network_g", "x"),
    "test without val": (TEST, "val", ...),
    "top of a benchmark": (BENCHMARK, "base", "RAMiT"),
    "in a network of a benchmark": (BENCHMARK, "networks.RAMiT.weight", "x"),
    "in network_g of a benchmark": (BENCHMARK, "networks.RAMiT.network_g.depth", [2]),
    "in a set of a benchmark": (BENCHMARK, "datasets.test_1.dataroot_hq", "x"),
    "in val of a benchmark": (BENCHMARK, "val.tiles", 5),
    "in cost": (BENCHMARK, "cost.device", "cpu"),
    "unknown precision": (BENCHMARK, "cost.precisions", ["float64"]),
    "in strips": (BENCHMARK, "strips", [{"dataset": "Set5", "images": "baby"}]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake: str) -> None:
    name, key, value = MISTAKES[mistake]
    assert errors(changed(read(name), key, value))


ALLOWED = {
    "losses": (TRAIN, "train.losses", [{"type": "L1Loss"}, {"type": "FFTLoss", "loss_weight": 0.1, "name": "fft"}]),
    "another optimizer": (TRAIN, "train.optim_g", {"type": "AdamW", "lr": 0.001, "weight_decay": 0.1}),
    "cosine": (TRAIN, "train.scheduler", {"type": "CosineAnnealingLR", "eta_min": 0}),
    "skipping": (TRAIN, "train.skip_above", 4),
    "BasicSR's network": (TRAIN, "network_g", {"type": "EDSR", "num_feat": 64}),
    "hyper-parameters of RAMiT": (TRAIN, "network_g.depths", [2, 2, 2, 2]),
    "two validation sets": (TRAIN, "datasets.val_2", read(TRAIN)["datasets"]["val"]),
    "a set left out": (TEST, "datasets.test_2", None),
    "BasicSR's data set": (TEST, "datasets.test_1", {"type": "VideoTestDataset", "cache_data": True}),
    "a model of another kind": (TRAIN, "model_type", "ESRGANModel"),
    "a network left out": (BENCHMARK, "networks.RAMiT", None),
    "cost alone": (BENCHMARK, "val", None),
    "devices": (BENCHMARK, "cost.devices", ["cpu"]),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_the_checks_allow_is_valid(case: str) -> None:
    name, key, value = ALLOWED[case]
    assert not errors(changed(deepcopy(read(name)), key, value))


@pytest.mark.parametrize("network", [RAMiT, NGswin])
def test_options_of_networks_are_their_arguments(network: type) -> None:
    options = JSON_SCHEMA["$defs"][network.__name__]["properties"]
    assert {"type", *inspect.signature(network).parameters} == set(options)


def test_every_option_is_described() -> None:
    models = [
        model
        for module in (schema, benchmark_schema)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model is not BaseModel
    ]
    assert len(models) > 20
    for model in models:
        for name, field in model.model_fields.items():
            assert (field.description or "").endswith("."), f"{model.__name__}.{name}"
    for name, definition in JSON_SCHEMA["$defs"].items():
        for option, about in definition["properties"].items():
            assert about.get("description") or name.startswith("Any") or option == "type", f"{name}.{option}"


def test_tables_have_every_option() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for model in (schema.TrainOptions, schema.Train, schema.Paths, schema.Val, schema.Logger, benchmark_schema.Cost):
        for name in model.model_fields:
            assert f"| `{name}` |" in text, name
