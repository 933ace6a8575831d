"""Option files: good ones pass unchanged, each mistake gives one line with file, key and remedy."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import TINY, changed, check_refused, testing_options, training_options
from hypothesis import given
from hypothesis import strategies as st

from ramit_model.benchmark.schema import BLOCKS, BenchmarkOptions
from ramit_model.config import schema as schemas
from ramit_model.config.option_file import find_option_file, override, read_yaml, recipe_folder
from ramit_model.config.options import load_options, read_options
from ramit_model.system.errors import InputError


def test_good_options_pass_unchanged(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = training_options(pairs)
    assert load_options(write_options(options), is_train=True) == options
    for kind in (options, clean(options, pairs)):
        cut = changed(kind, "datasets.train.sub_images", True)
        assert load_options(write_options(cut), is_train=True)["datasets"]["train"] == cut["datasets"]["train"]
    options = testing_options(pairs)
    assert load_options(write_options(options), is_train=False) == options


TRAINING_MISTAKES = {
    "unknown network": ("network_g.type", "RAMIT", ["network_g.type", "did you mean RAMiT?"]),
    "network of nobody": ("network_g.type", "Xyz", ["'Xyz' is not registered"]),
    "misspelt network argument": ("network_g.depth", [2], ["network_g.depth", "did you mean depths?"]),
    "network arguments that do not fit": ("network_g.dim", 30, ["network_g", "multiple of 16"]),
    "text for a number in the network": ("network_g.dim", "wide", ["network_g"]),
    "scales differ": ("network_g.scale", 4, ["scale", "make them equal"]),
    "scales differ, BasicSR's network": ("network_g", {"type": "SwinIR", "upscale": 4}, ["network_g.upscale is 4"]),
    "unknown model": ("model_type", "RestorationModle", ["model_type", "did you mean RestorationModel?"]),
    "misspelt top key": ("netwrok_g", TINY, ["netwrok_g", "did you mean network_g?"]),
    "misspelt nested key": ("train.total_iters", 5, ["train.total_iters", "did you mean total_iter?"]),
    "missing top key": ("network_g", ..., ["network_g", "missing"]),
    "missing nested key": ("train.optim_g", ..., ["train.optim_g", "missing"]),
    "missing logger key": ("logger.print_freq", ..., ["logger.print_freq", "missing"]),
    "no tile": ("val.tile", 0, ["val.tile"]),
    "unknown tile": ("val.tile", "large", ["val.tile"]),
    "missing save_img": ("val.save_img", ..., ["val.save_img", "missing"]),
    "number as text": ("train.optim_g.lr", "1e-4", ["train.optim_g.lr", "reads 1e-4 as text", "0.0001"]),
    "whole number as text": ("train.total_iter", "5e5", ["train.total_iter", "write 500000"]),
    "None as text": ("path.pretrain_network_g", "None", ["path.pretrain_network_g", "write ~"]),
    "text for a number": ("train.total_iter", "many", ["train.total_iter", "integer"]),
    "text for a block": ("train.progressive", "yes", ["train.progressive: must be a block of options, not 'yes'"]),
    "negative": ("train.total_iter", -5, ["train.total_iter", "greater than 0"]),
    "yes for a number": ("scale", True, ["scale", "integer"]),
    "unknown loss": ("train.pixel_opt.type", "L2Loss", ["train.pixel_opt.type", "L1Loss"]),
    "unknown loss argument": ("train.pixel_opt.weight", 1.0, ["train.pixel_opt.weight", "loss_weight"]),
    "no loss": ("train.pixel_opt", None, ["train.pixel_opt", "loss"]),
    "unknown optimiser": ("train.optim_g.type", "AdamX", ["train.optim_g.type", "did you mean Adam"]),
    "near optimiser argument": ("train.optim_g.weight_decai", 0.1, ["weight_decai", "did you mean weight_decay?"]),
    "no factor of leaps": ("train.skip_above", 1, ["train.skip_above", "greater than 1"]),
    "argument of a constant": ("train.scheduler", {"type": "ConstantLR", "factor": 0.5}, ["train.scheduler.factor"]),
    "negative period": ("train.scheduler", {"type": "CosineAnnealingLR", "T_max": -1}, ["train.scheduler.T_max"]),
    "unknown optimiser argument": ("train.optim_g.learning_rate", 0.1, ["train.optim_g.learning_rate"]),
    "unknown scheduler": ("train.scheduler.type", "StepLR", ["train.scheduler.type", "MultiStepLR"]),
    "missing scheduler argument": ("train.scheduler.milestones", ..., ["train.scheduler.milestones", "missing"]),
    "unknown metric": ("val.metrics.psnr.type", "calculate_pnsr", ["val.metrics.psnr.type", "calculate_psnr"]),
    "unknown metric argument": ("val.metrics.psnr.border", 2, ["val.metrics.psnr.border", "crop_border"]),
    "missing metric argument": ("val.metrics.psnr.crop_border", ..., ["val.metrics.psnr.crop_border"]),
    "unknown data set type": ("datasets.train.type", "PairDataset", ["datasets.train.type", "is not registered"]),
    "missing data set type": ("datasets.train.type", ..., ["datasets.train.type", "missing"]),
    "misspelt data set key": ("datasets.train.dataroot_hq", "x", ["datasets.train.dataroot_hq", "dataroot_lq"]),
    "missing folder": ("datasets.train.dataroot_gt", "no/such.lmdb", ["datasets.train.dataroot_gt", "no such folder"]),
    "not an LMDB": ("datasets.train.dataroot_gt", "/tmp", ["ends in .lmdb"]),
    "LMDB read as folder": ("datasets.train.io_backend.type", "disk", ["io_backend.type: lmdb"]),
    "unknown backend": ("datasets.train.io_backend.type", "zip", ["io_backend.type", "disk or lmdb"]),
    "unknown phase": ("datasets.validation", {}, ["datasets.validation", "train or val"]),
    "no training set": ("datasets.train", ..., ["datasets.train"]),
    "patch and scale": ("datasets.train.gt_size", 33, ["datasets.train.gt_size", "multiple of scale"]),
    "missing patch size": ("datasets.train.gt_size", ..., ["datasets.train.gt_size", "missing"]),
    "sub-images as a number": ("datasets.train.sub_images", 12, ["datasets.train.sub_images", "boolean", "12"]),
    "sub-images in validation": ("datasets.val.sub_images", True, ["datasets.val.sub_images", "no such option"]),
    "persistent workers of none": ("datasets.train.persistent_workers", True, ["num_worker_per_gpu"]),
    "missing meta file": ("datasets.train.meta_info_file", "no.txt", ["meta_info_file", "no such file"]),
    "missing weights": ("path.pretrain_network_g", "no.pth", ["path.pretrain_network_g", "no such file"]),
    "misspelt published weights": ("path.pretrain_network_g", "RAMiT-1_X22", ["did you mean RAMiT-1_X2?"]),
    "folder for weights": ("path.pretrain_network_g", "/tmp", ["path.pretrain_network_g", "is no file"]),
    "extra path": ("path.exports", "x", ["path.exports", "no such option"]),
    "name leads elsewhere": ("name", "../../home", ["name", "folder"]),
    "GPUs by name": ("num_gpu", "all", ["num_gpu", "auto or a number"]),
    "no num_gpu": ("num_gpu", ..., ["num_gpu", "missing"]),
    "more GPUs than there are": ("num_gpu", 64, ["num_gpu", "auto"]),
}


def test_tiles_are_for_restoration_model(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = changed(training_options(pairs), "val.tile", 64)
    assert load_options(write_options(options), is_train=True)["val"]["tile"] == 64
    with pytest.raises(InputError, match=r"val\.tile: SRModel has none; use RestorationModel"):
        load_options(write_options(changed(options, "model_type", "SRModel")), is_train=True)


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", TRAINING_MISTAKES)
def test_mistakes(mistake: str, pairs: Path, write_options: Callable[..., Path]) -> None:
    key, value, parts = TRAINING_MISTAKES[mistake]
    path = write_options(changed(training_options(pairs), key, value))
    with pytest.raises(InputError) as caught:
        load_options(path, is_train=True)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    for part in parts:
        assert part in message


def test_published_weights_are_found_by_name(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    Path("weights/RAMiT-1_X2.pth").write_bytes(b"as they are")
    for options, is_train in ((training_options(pairs), True), (testing_options(pairs), False)):
        path = write_options(changed(options, "path.pretrain_network_g", "RAMiT-1_X2"))
        found = load_options(path, is_train=is_train)["path"]["pretrain_network_g"]
        assert found == str(Path("weights/RAMiT-1_X2.pth"))


STAGES = {"iters": [4, 4], "patch_sizes": [8, 16], "batch_sizes": [4, 2]}


def staged(options: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Options of a progressive training."""
    options = deepcopy(options)
    for key in ("gt_size", "batch_size_per_gpu"):
        del options["datasets"]["train"][key]
    options["train"]["progressive"] = {**STAGES, **changes}
    return options


def clean(options: dict[str, Any], pairs: Path) -> dict[str, Any]:
    """Options of a training for gray denoising."""
    options = deepcopy(options)
    block = {"type": "CleanImageDataset", "color": "gray", "dataroot_gt": str(pairs / "HR.lmdb")}
    options["datasets"]["train"].update(block, sigma=[0, 50])
    options["datasets"]["val"] = {"name": "gray", "io_backend": {"type": "lmdb"}, **block}
    del options["datasets"]["train"]["dataroot_lq"]
    options["val"]["sigma"] = [15, 25]
    options.update(scale=1, network_g={**TINY, "scale": 1, "task": "GDN"})
    return options


PLAN_MISTAKES = {
    "stages that end too early": (
        {"iters": [2, 2]},
        {},
        ["train.progressive.iters", "4 iterations", "total_iter is 8"],
    ),
    "stages without a batch": ({"batch_sizes": [4]}, {}, ["train.progressive", "2 iters", "1 batch_sizes"]),
    "no stage": ({"iters": []}, {}, ["train.progressive.iters"]),
    "no size": ({"patch_sizes": [0, 8]}, {}, ["train.progressive.patch_sizes[0]", "greater than 0"]),
    "parts of a batch": ({}, {"train.accumulate": 4}, ["batch of 2", "train.accumulate 4"]),
    "two patch sizes": ({}, {"datasets.train.gt_size": 32}, ["datasets.train.gt_size", "train.progressive sets it"]),
    "two batches": ({}, {"datasets.train.batch_size_per_gpu": 4}, ["batch_size_per_gpu", "train.progressive"]),
    "a data set that cannot": ({}, {"datasets.train.type": "PairedImageDataset"}, ["datasets.train.type"]),
    "a model that cannot": ({}, {"model_type": "SRModel"}, ["train.progressive", "use RestorationModel"]),
    "warm start of nothing": (
        {},
        {"train.warm_start": {"iters": 2, "trainable": ["to_target"]}},
        ["path.pretrain_network_g", "warm_start"],
    ),
    "warm start of nobody": (
        {},
        {"train.warm_start": {"iters": 2, "trainable": ["to_taget"]}},
        ["train.warm_start.trainable", "did you mean to_target?"],
    ),
    "warm start without modules": (
        {},
        {"train.warm_start": {"iters": 2, "trainable": []}},
        ["train.warm_start.trainable"],
    ),
    "unknown precision": ({}, {"train.amp": "fp16"}, ["train.amp", "'bfloat16' or 'float16'"]),
    "no clipping": ({}, {"train.grad_clip": 0}, ["train.grad_clip", "greater than 0"]),
    "part of a part": ({}, {"train.accumulate": 0}, ["train.accumulate", "greater than 0"]),
    "no average": ({}, {"train.ema_decay": 1}, ["train.ema_decay", "less than 1"]),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", PLAN_MISTAKES)
def test_plans_that_contradict_themselves(mistake: str, pairs: Path, write_options: Callable[..., Path]) -> None:
    changes, others, parts = PLAN_MISTAKES[mistake]
    options = staged(training_options(pairs), **changes)
    for key, value in others.items():
        options = changed(options, key, value)
    path = write_options(options)
    check_refused(path, parts)


def test_compiling_needs_a_compiler(
    pairs: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_options(changed(training_options(pairs), "train.compile", True))
    monkeypatch.setenv("PATH", str(path.parent))
    with pytest.raises(InputError, match=r"train\.compile: .* none is found"):
        load_options(path, is_train=True)


def test_a_batch_is_shared_out_over_the_processes(
    pairs: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_options(staged(training_options(pairs), batch_sizes=[4, 2]))
    assert load_options(path, is_train=True)["train"]["progressive"]["iters"] == [4, 4]
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="a batch of 2 cannot be shared out evenly over 4 processes"):
        load_options(path, is_train=True)


def test_every_clean_set_is_tested_at_every_noise_level(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = clean(training_options(pairs), pairs)
    datasets = load_options(write_options(options), is_train=True)["datasets"]
    assert list(datasets) == ["train", "val_sigma15", "val_sigma25"]
    assert [datasets[f"val_sigma{s}"]["sigma"] for s in (15, 25)] == [15, 25]
    assert [datasets[f"val_sigma{s}"]["name"] for s in (15, 25)] == ["gray_sigma15", "gray_sigma25"]
    assert datasets["train"] == options["datasets"]["train"]
    # A level of its own stands.
    options = changed(options, "datasets.val.sigma", 30)
    assert list(load_options(write_options(options), is_train=True)["datasets"]) == ["train", "val"]


CLEAN_MISTAKES = {
    "no level to test": ("val.sigma", ..., ["val.sigma", "missing"]),
    "no level to train": ("datasets.train.sigma", ..., ["datasets.train.sigma", "missing"]),
    "one limit": ("datasets.train.sigma", [25], ["datasets.train.sigma"]),
    "limits the wrong way round": ("datasets.train.sigma", [50, 0], ["datasets.train.sigma", "swap"]),
    "negative level": ("val.sigma", [-5], ["val.sigma[0]"]),
    "a scale": ("scale", 2, ["scale"]),
    "color into a gray network": ("datasets.train.color", ..., ["datasets.train.color", "takes 1"]),
    "gray into a color network": ("network_g", {**TINY, "scale": 1, "task": "CDN"}, ["color", "takes 3"]),
    "LQ images too": ("datasets.train.dataroot_lq", "x", ["datasets.train.dataroot_lq", "no such option"]),
}


def test_basicsrs_own_data_sets_know_no_sub_images(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = changed(training_options(pairs), "datasets.train.type", "PairedImageDataset")
    load_options(write_options(changed(options, "datasets.train.sub_images", False)), is_train=True)
    path = write_options(changed(options, "datasets.train.sub_images", True))
    with pytest.raises(InputError) as caught:
        load_options(path, is_train=True)
    assert str(caught.value) == (
        f"{path}: datasets.train.type: PairedImageDataset knows no sub_images; "
        "use PairedRestorationDataset or CleanImageDataset or PhotoDataset"
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", CLEAN_MISTAKES)
def test_clean_set_mistakes(mistake: str, pairs: Path, write_options: Callable[..., Path]) -> None:
    key, value, parts = CLEAN_MISTAKES[mistake]
    path = write_options(changed(clean(training_options(pairs), pairs), key, value))
    with pytest.raises(InputError) as caught:
        load_options(path, is_train=True)
    for part in parts:
        assert part in str(caught.value)


FILES = {
    "python tag": ("name: !!python/object/apply:os.mkdir [executed]\n", ["the tag", "refused", ":1"]),
    "python tuple": ("name: x\ntrain: !!python/tuple [1, 2]\n", ["refused", ":2"]),
    "duplicate key": ("name: x\nscale: 2\nscale: 4\n", ["'scale' stands twice", ":3"]),
    "nested duplicate": ("path:\n  a: 1\n  a: 2\n", ["'a' stands twice", ":3"]),
    "broken YAML": ("name: [1, 2\nscale: 2\n", ["options.yml"]),
    "tab": ("name: x\npath:\n\ta: 1\n", ["options.yml:3"]),
    "a list": ("- name\n", ["mapping"]),
    "empty": ("", ["holds no options"]),
    "binary": (b"PK\x03\x04\0\0\xff\xfe", ["not a text file"]),
    "GBK": ("name: x\n# 中\n".encode("gbk"), ["line 2 is not UTF-8; save the file as UTF-8"]),
    "Latin-1": ("name: x\n\n# é".encode("latin-1"), ["line 3 is not UTF-8; save the file as UTF-8"]),
    "UTF-16 without a mark": ("name: x\n".encode("utf-16-le"), ["not a text file in UTF-8"]),
    "half of UTF-16": ("name: x\n".encode("utf-16")[:-1], ["begins as utf-16 but is not"]),
    "unknown alias": ("name: *base\n", ["alias"]),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_options(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, parts = FILES[kind]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "options.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load_options(path, is_train=True)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_missing_file_suggests_its_neighbour(pairs: Path, write_options: Callable[..., Path]) -> None:
    path = write_options(training_options(pairs), "train_RAMiT_x2.yml")
    with pytest.raises(InputError, match=r"did you mean .*train_RAMiT_x2\.yml"):
        load_options(path.with_name("train_RAMIT_x2.yml"), is_train=True)
    with pytest.raises(InputError, match="cannot be read"):
        load_options(path.parent, is_train=True)


def test_a_training_file_is_no_test_file(pairs: Path, write_options: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"datasets\.train: test takes data sets called val or test"):
        load_options(write_options({**training_options(pairs)}), is_train=False)


def test_incomplete_lmdb(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    (tmp_path / "half.lmdb").mkdir()
    path = write_options(changed(training_options(pairs), "datasets.val.dataroot_lq", str(tmp_path / "half.lmdb")))
    with pytest.raises(InputError, match=r"data\.mdb"):
        load_options(path, is_train=True)


def test_an_override_is_no_code(pairs: Path, write_options: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="no such option"):
        load_options(write_options(training_options(pairs)), is_train=True, forced=['name"]; import os; x["y=1'])


def test_merge_keys_and_anchors_work(tmp_path: Path) -> None:
    path = tmp_path / "o.yml"
    path.write_text("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\n")
    assert read_yaml(path)["other"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("a:b=3", 3),
        ("a:b=0.5", 0.5),
        ("a:b=!!float 1e-4", 1e-4),
        ("a:b=[1, 2]", [1, 2]),
        ("a:b=true", True),
        ("a:b=~", None),
        ("a:b=none", None),
        ("a:b=x=y", "x=y"),
        ("a:new=text", "text"),
    ],
)
def test_overrides(entry: str, expected: Any) -> None:
    options = {"a": {"b": 1}}
    override(options, [entry], "o.yml")
    assert options["a"][entry.split("=", maxsplit=1)[0].split(":")[1]] == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("datasets:test:filename_tmpl={}x2", "{}x2"),
        ("datasets:test:name=*x", "*x"),
        ("datasets:test:name=2020-01-01", "2020-01-01"),
        ("datasets:test:dataroot_gt=C:\\data: [new] #1", "C:\\data: [new] #1"),
        ("val:suffix=@x", "@x"),
        ("val:suffix=012", "012"),
        ("val:suffix=1e5", "1e5"),
        ("val:suffix=on", "on"),
        ('val:suffix="a #1"', "a #1"),
        ("val:suffix='it''s'", "it's"),
        ("val:suffix=!!str 7", "7"),
        ("val:suffix=none", None),
        ("path:param_key_g=7", "7"),
        ("network_g:type=%x", "%x"),
        ("val:metrics:psnr:type={x", "{x"),
        ("val:metrics:psnr:crop_border=04", 4),
        ("name=007", "007"),
    ],
)
def test_text_is_taken_as_typed(entry: str, expected: Any, pairs: Path, write_options: Callable[..., Path]) -> None:
    path = write_options(testing_options(pairs))
    value: Any = read_options(path, [entry], leave_out=(), schema=schemas.TestOptions)
    for key in entry.partition("=")[0].split(":"):
        value = value[key]
    assert value == expected


@pytest.mark.parametrize(("entry", "expected"), [("networks:a:weights=@x.pth", "@x.pth"), ("cost:runs=07", 7)])
def test_text_of_a_benchmark_is_taken_as_typed(entry: str, expected: Any, write_options: Callable[..., Path]) -> None:
    path = write_options({"name": "b", "networks": {"a": {"network_g": TINY}}, "cost": {}})
    value: Any = read_options(path, [entry], leave_out=(), schema=BenchmarkOptions, blocks=BLOCKS)
    for key in entry.partition("=")[0].split(":"):
        value = value[key]
    assert value == expected


@pytest.mark.bad_input
@pytest.mark.parametrize("value", ["@x", "RAMiT #1", "[2, 2", "{a: 1} # b", "a: b #c", 'a "b" #c'])
def test_what_is_not_yaml_is_to_be_quoted(value: str) -> None:
    options: dict[str, Any] = {"a": {}}
    with pytest.raises(InputError, match="quote it: 'a:b=") as caught:
        override(options, [f"a:b={value}"], "o.yml")
    advice = str(caught.value).partition("quote it: ")[2]
    override(options, [advice.removeprefix("'").removesuffix("'")], "o.yml")
    assert options["a"]["b"] == value


def test_a_name_that_yaml_reads_as_a_number(pairs: Path, write_options: Callable[..., Path]) -> None:
    for value in (2020, 1.5, True):
        with pytest.raises(InputError, match=r"name: must be text, but YAML reads it as .*; put it in quotes"):
            load_options(write_options(changed(testing_options(pairs), "name", value)), is_train=False)
    load_options(write_options(changed(testing_options(pairs), "name", "1e5")), is_train=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_are_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "o.yml"
    path.write_text("name: 写真\r\n", encoding=encoding)
    assert read_yaml(path) == {"name": "写真"}


@pytest.mark.bad_input
@pytest.mark.parametrize("entry", ["a:b", "x:y=1", "a:b:c=1", "a:b=[1", "a:b=!!python/name:os.system"])
def test_overrides_that_make_no_sense(entry: str) -> None:
    with pytest.raises(InputError, match="--force_yml"):
        override({"a": {"b": 1}}, [entry], "o.yml")


@given(st.text(alphabet="ab:=[]{}!\"'#&*-? \n0123456789", max_size=40))
def test_no_text_breaks_the_override_parser(entry: str) -> None:
    options: dict[str, Any] = {"a": {"b": 1}}
    try:
        override(options, [entry], "o.yml")
    except InputError as error:
        assert str(error)


def test_a_data_set_can_be_left_out(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = training_options(pairs)
    loaded = load_options(write_options(options), is_train=True, forced=["datasets:val=none"])
    assert list(loaded["datasets"]) == ["train"]


def test_numbers_are_suggested_as_yaml_reads_them() -> None:
    from ramit_model.config.validation import as_yaml_number

    for text in ("1e-4", "4e-4", "2.5E-07", "5e5", "1e20", "-1e-3"):
        assert yaml.safe_load(as_yaml_number(text)) == float(text)


def test_option_files_are_found_where_they_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("options/test_RAMiT_x2.yml", "test_RAMiT_x2.yml"):
        assert find_option_file(path) == str(recipe_folder() / "test_RAMiT_x2.yml")
    for path in ("other/test_RAMiT_x2.yml", "options/own.yml", "/test_RAMiT_x2.yml"):
        assert find_option_file(path) == path
    with pytest.raises(InputError, match=r"did you mean options/test_RAMiT_x2\.yml\?"):
        read_yaml("options/test_RAMiTx2.yml")
    (tmp_path / "options").mkdir()
    (tmp_path / "options/test_RAMiT_x2.yml").touch()
    assert find_option_file("options/test_RAMiT_x2.yml") == "options/test_RAMiT_x2.yml"


def test_a_missing_test_set_can_be_left_out(pairs: Path, write_options: Callable[..., Path]) -> None:
    path = write_options(changed(testing_options(pairs), "datasets.test.dataroot_gt", "no/such.lmdb"))
    with pytest.raises(InputError, match="or leave the set out: --force_yml datasets:test=none"):
        load_options(path, is_train=False)
    path = write_options(changed(training_options(pairs), "datasets.train.dataroot_gt", "no/such.lmdb"))
    with pytest.raises(InputError, match="no such folder") as caught:
        load_options(path, is_train=True)
    assert "leave the set out" not in str(caught.value)
