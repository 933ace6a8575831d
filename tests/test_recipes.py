"""Option files: written from their one source, with the published facts, and valid but for data that is not here."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from helpers import REPOSITORY

from ramit_model.benchmark.plan import load_plan
from ramit_model.config import checks, trials
from ramit_model.config.options import load_options
from ramit_model.inference.published_weights import named
from ramit_model.training.criteria import losses_of

FOLDER = REPOSITORY / "options"

# Published facts, as literal numbers.

NAMES = {
    *("RAMiT_x2", "RAMiT_x3", "RAMiT_x4", "RAMiT_CDN", "RAMiT_GDN", "RAMiT_LLE", "RAMiT_DR"),
    *("RAMiT-1_x2", "RAMiT-1_x3", "RAMiT-1_x4", "RAMiT-1_CDN"),
    *("RAMiT-slimSR_x2", "RAMiT-slimSR_x3", "RAMiT-slimSR_x4", "RAMiT-slimLLE_LLE"),
    *("NGswin_x2", "NGswin_x3", "NGswin_x4", "SwinIR-light_x2", "SwinIR-light_x3", "SwinIR-light_x4"),
}

SR_NETWORKS = ["RAMiT", "RAMiT-1", "RAMiT-slimSR", "NGswin", "SwinIR-light"]
BENCHMARKS = {
    "x2": SR_NETWORKS,
    "x3": SR_NETWORKS,
    "x4": SR_NETWORKS,
    "CDN": ["RAMiT", "RAMiT-1"],
    "GDN": ["RAMiT"],
    "LLE": ["RAMiT", "RAMiT-slimLLE"],
    "DR": ["RAMiT"],
    "speed": SR_NETWORKS,
}

FINETUNED = {"x2": "RAMiT-1", "x3": "RAMiT-1", "x4": "RAMiT-1", "CDN": "RAMiT-1", "GDN": "RAMiT", "DR": "RAMiT"}
FINETUNED["LLE"] = "RAMiT-slimLLE"
"""Network that is fine-tuned for a task."""

CHECKED = ("x2", "x4", "LLE")
"""Tasks whose short training is recorded."""

FROM_SCRATCH = {
    "total_iter": 500000,
    "warmup_iter": 20000,
    "milestones": [200000, 300000, 400000, 425000, 450000, 475000],
}
FROM_X2 = {
    "total_iter": 300000,
    "warmup_iter": 10000,
    "milestones": [50000, 100000, 150000, 175000, 200000, 225000],
    "warm_start": {"iters": 50000, "trainable": ["to_target"]},
}
DENOISING = {
    "total_iter": 443300,
    "warmup_iter": 8060,
    "milestones": [120900, 282100, 362700, 403000],
    "progressive": {
        "iters": [40300, 80600, 322400],
        "patch_sizes": [64, 96, 128],
        "batch_sizes": [64, 32, 16],
    },
}
OF_25000_PATCHES = {
    "total_iter": 429900,
    "warmup_iter": 7820,
    "milestones": [117300, 273600, 351750, 390825],
    "progressive": {
        "iters": [39100, 78200, 312600],
        "patch_sizes": [64, 96, 128],
        "batch_sizes": [64, 32, 16],
    },
}
SWINIR = {"total_iter": 500000, "warmup_iter": -1, "milestones": [250000, 400000, 450000, 475000], "ema_decay": 0.999}

SCHEDULES = {
    "x2": FROM_SCRATCH,
    "x3": FROM_X2,
    "x4": FROM_X2,
    "CDN": DENOISING,
    "GDN": DENOISING,
    "LLE": OF_25000_PATCHES,
    "DR": OF_25000_PATCHES,
}

SR_SETS = {name: f"datasets/{name}/HR" for name in ("Set5", "Set14", "BSD100", "Urban100", "Manga109")}
TEST_SETS = {
    "x2": SR_SETS,
    "x3": SR_SETS,
    "x4": SR_SETS,
    "CDN": {
        "CBSD68": "datasets/CBSD68/GT",
        "Kodak24": "datasets/Kodak24/GT",
        "McMaster": "datasets/McMaster/GT",
        "Urban100": "datasets/Urban100/HR",
    },
    "GDN": {"Set12": "datasets/Set12/GT", "BSD68": "datasets/CBSD68/GT", "Urban100": "datasets/Urban100/HR"},
    "LLE": {"LOL": "datasets/LOL/GT", "VE-LOL-cap": "datasets/VE-LOL-cap/GT"},
    "DR": {"Test100": "datasets/Test100/GT", "Rain100H": "datasets/Rain100H/GT"},
}

TRAINING_LMDBS = {
    "x2": ("DIV2K/DIV2K_train_HR_sub.lmdb", "DIV2K/DIV2K_train_LR_bicubic_X2_sub.lmdb"),
    "x3": ("DIV2K/DIV2K_train_HR_sub.lmdb", "DIV2K/DIV2K_train_LR_bicubic_X3_sub.lmdb"),
    "x4": ("DIV2K/DIV2K_train_HR_sub.lmdb", "DIV2K/DIV2K_train_LR_bicubic_X4_sub.lmdb"),
    "CDN": ("DFBW/GT.lmdb", None),
    "GDN": ("DFBW/GT.lmdb", None),
    "LLE": ("LOL_VE-LOL/GT.lmdb", "LOL_VE-LOL/LQ.lmdb"),
    "DR": ("Rain13K/GT.lmdb", "Rain13K/LQ.lmdb"),
}

CROP_AND_Y = {
    "x2": (2, True),
    "x3": (3, True),
    "x4": (4, True),
    "CDN": (0, False),
    "GDN": (0, False),
    "LLE": (0, False),
    "DR": (0, True),
}


def read(file: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{file}.yml").read_text(encoding="utf-8"))


def goal(name: str) -> str:
    return name.rpartition("_")[2]


each_recipe = pytest.mark.parametrize("name", sorted(NAMES))


@pytest.fixture(scope="module")
def recipes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipes", REPOSITORY / "options/recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_up_to_date(recipes: ModuleType) -> None:
    assert recipes.main(FOLDER, check=True) == 0
    written = [name for name, _ in recipes.option_files()]
    wanted = {f"{kind}_{name}.yml" for kind in ("train", "test") for name in {*NAMES, "demo"}}
    wanted |= {f"benchmark_{name}.yml" for name in BENCHMARKS}
    wanted |= {f"finetune_RAMiT_{name}.yml" for name in FINETUNED}
    wanted |= {f"check_RAMiT_{name}.yml" for name in CHECKED}
    assert len(written) == len(wanted)
    assert set(written) == {path.name for path in FOLDER.glob("*.yml")} == wanted


def test_check_names_changed_and_missing_files(
    recipes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipes.main(tmp_path, check=False) == 0
    assert recipes.main(tmp_path, check=True) == 0
    changed, missing = tmp_path / "train_RAMiT_x2.yml", tmp_path / "test_RAMiT_DR.yml"
    text = changed.read_text(encoding="utf-8").replace("500000", "500001")
    changed.write_text(text, encoding="utf-8")
    missing.unlink()
    capsys.readouterr()
    assert recipes.main(tmp_path, check=True) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": differs")[0] for line in lines] == [str(changed), str(missing)]
    assert changed.read_text(encoding="utf-8") == text
    assert not missing.exists()


@pytest.mark.parametrize("name", ["schema.json", "README.md"])
def test_check_names_a_stale_schema_and_stale_tables(
    name: str, recipes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes.main(tmp_path, check=False)
    path = tmp_path / name
    assert path.read_text(encoding="utf-8") == (FOLDER / name).read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace("warmup_iter", "warm_up"), encoding="utf-8")
    assert recipes.main(tmp_path, check=True) == 1
    assert capsys.readouterr().out.startswith(f"{path}: differs")


def test_lines_fit_and_end() -> None:
    for path in FOLDER.glob("*.yml"):
        lines = path.read_text(encoding="utf-8").split("\n")
        assert max(map(len, lines)) <= 120, path.name
        assert all(line == line.rstrip() for line in lines), path.name
        assert lines[-1] == "" != lines[-2], path.name


@each_recipe
def test_lengths_and_rates_are_the_published_ones(name: str) -> None:
    swinir = name.startswith("SwinIR")
    train = read(f"train_{name}")["train"]
    wanted = SWINIR if swinir else SCHEDULES[goal(name)]
    facts = {key: value for key, value in train.items() if key not in ("optim_g", "scheduler", "pixel_opt")}
    assert facts | {"milestones": train["scheduler"]["milestones"]} == wanted
    assert train["scheduler"] == {"type": "MultiStepLR", "milestones": wanted["milestones"], "gamma": 0.5}
    lr = 0.0002 if swinir else 0.0004
    assert train["optim_g"] == {"type": "Adam", "lr": lr, "weight_decay": 0, "betas": [0.9, 0.999]}
    assert train["pixel_opt"] == {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    assert [(loss.key, loss.names[0]) for loss in losses_of(train)] == [("train.pixel_opt", "l_pix")]


@each_recipe
def test_commented_options_can_be_taken_in(name: str) -> None:
    train = (FOLDER / f"train_{name}.yml").read_text(encoding="utf-8").partition("\ntrain:\n")[2].partition("\n\n")[0]
    taken = yaml.safe_load("\n".join(line.replace("  # ", "  ", 1) for line in train.splitlines() if line[:3] == "  #"))
    average = {} if name.startswith("SwinIR") else {"ema_decay": 0.999}
    wanted = dict(amp="bfloat16", grad_clip=1.0, accumulate=2, compile=True, channels_last=True)
    assert taken == wanted | average


@each_recipe
def test_stages_fill_the_run(name: str) -> None:
    train = read(f"train_{name}")["train"]
    if "progressive" in train:
        assert sum(train["progressive"]["iters"]) == train["total_iter"]
    whole = train["total_iter"] - train.get("warm_start", {"iters": 0})["iters"]
    assert train["warmup_iter"] < train["scheduler"]["milestones"][0]
    assert train["scheduler"]["milestones"] == sorted(train["scheduler"]["milestones"])
    assert train["scheduler"]["milestones"][-1] < whole


@each_recipe
def test_networks(name: str) -> None:
    network, _, task = name.rpartition("_")
    scale = int(task[1:]) if task.startswith("x") else 1
    wanted: dict[str, Any] = {"type": "RAMiT", "variant": network, "task": task}
    if network == "SwinIR-light":
        wanted = dict(
            type="SwinIR", upscale=scale, in_chans=3, img_size=64, window_size=8, img_range=1.0,
            depths=[6, 6, 6, 6], embed_dim=60, num_heads=[6, 6, 6, 6], mlp_ratio=2,
            upsampler="pixelshuffledirect", resi_connection="1conv",
        )  # fmt: skip
    elif network == "NGswin":
        wanted = {"type": "NGswin", "scale": scale}
    elif scale > 1:
        wanted |= {"task": "SR", "scale": scale}
    for kind in ("train", "test"):
        loaded = read(f"{kind}_{name}")
        assert loaded["network_g"] == wanted
        assert (loaded["name"], loaded["model_type"]) == (f"{kind}_{name}", "RestorationModel")
        assert (loaded["scale"], loaded["num_gpu"], loaded["manual_seed"]) == (scale, "auto", 0)


@each_recipe
def test_weights(name: str) -> None:
    network, _, task = name.rpartition("_")
    start = f"experiments/train_{network}_x2/models/net_g_latest.pth"
    warm = task in ("x3", "x4") and network != "SwinIR-light"
    assert read(f"train_{name}")["path"]["pretrain_network_g"] == (start if warm else None)
    tested = read(f"test_{name}")["path"]
    assert tested["pretrain_network_g"] == f"weights/{network}_{task if network == 'NGswin' else task.upper()}.pth"
    # A file of a run with a moving average holds both; the average is what was validated.
    assert tested.get("param_key_g") == ("params_ema" if network == "SwinIR-light" else None)


@each_recipe
def test_training_data(name: str) -> None:
    train, task = read(f"train_{name}")["datasets"]["train"], goal(name)
    gt, lq = TRAINING_LMDBS[task]
    wanted: dict[str, Any] = {
        "name": gt.partition("/")[0],
        "type": "PairedRestorationDataset" if lq else "CleanImageDataset",
        "dataroot_gt": f"datasets/{gt}",
        "io_backend": {"type": "lmdb"},
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": 6,
        "pin_memory": True,
    }
    wanted |= {"dataroot_lq": f"datasets/{lq}"} if lq else {"sigma": [0, 50]}
    wanted |= {"color": "gray"} if task == "GDN" else {}
    wanted |= {} if task in ("LLE", "DR") else {"sub_images": True}
    wanted |= {"gt_size": 64 * int(task[1:]), "batch_size_per_gpu": 32} if task.startswith("x") else {}
    assert train == wanted


@each_recipe
def test_evaluation(name: str) -> None:
    task, trained, tested = goal(name), read(f"train_{name}"), read(f"test_{name}")
    sets = [tested["datasets"][f"test_{i}"] for i in range(1, len(tested["datasets"]) + 1)]
    assert {one["name"]: one["dataroot_gt"] for one in sets} == TEST_SETS[task]
    assert trained["datasets"]["val"] == sets[0]
    for one in sets:
        folder = one["dataroot_gt"].rpartition("/")[0]
        lq = {"CDN": None, "GDN": None, "LLE": f"{folder}/LQ", "DR": f"{folder}/LQ"}
        assert one.get("dataroot_lq") == lq.get(task, f"{folder}/LR_bicubic/{task.upper()}")
        assert one.get("filename_tmpl") == (f"{{}}{task}" if task.startswith("x") else None)
        assert one["type"] == ("CleanImageDataset" if lq.get(task, "") is None else "PairedRestorationDataset")
        assert one.get("color") == ("gray" if task == "GDN" else None)
        assert one["io_backend"] == {"type": "disk"}
    denoising = task in ("CDN", "GDN")
    assert trained["val"].get("sigma") == ([25] if denoising else None)
    assert tested["val"].get("sigma") == ([15, 25, 50] if denoising else None)
    assert trained["val"]["tb_images"] == 3
    border, on_y = CROP_AND_Y[task]
    for loaded in (trained, tested):
        assert loaded["val"]["metrics"] == {
            metric: dict(type=f"calculate_{metric}", crop_border=border, test_y_channel=on_y, better="higher")
            for metric in ("psnr", "ssim")
        }


@pytest.mark.parametrize("name", FINETUNED)
def test_fine_tuning_goes_on_from_a_published_training(name: str) -> None:
    options, published = read(f"finetune_RAMiT_{name}"), read(f"train_{FINETUNED[name]}_{name}")
    for key in ("network_g", "scale", "model_type"):
        assert options[key] == published[key]
    assert options["val"]["metrics"] == published["val"]["metrics"]
    weights = named(options["path"]["pretrain_network_g"])
    assert weights
    assert f"weights/{weights.name}" == read(f"test_{FINETUNED[name]}_{name}")["path"]["pretrain_network_g"]
    train, val = options["datasets"]["train"], options["datasets"]["val"]
    assert train["type"] == val["type"] == "PhotoDataset"
    assert "dataroot_gt" not in val  # what train holds out
    assert [key for key in train if key.startswith("dataroot")] == ["dataroot_gt", "dataroot_lq"][
        : 2 if name in ("LLE", "DR") else 1
    ]
    for key in ("color", "sigma", "use_hflip", "use_rot"):
        assert train.get(key) == published["datasets"]["train"].get(key)
    schedule = options["train"]
    assert (schedule["total_iter"], schedule["optim_g"]["lr"]) == (3000, 0.00002)
    assert schedule["scheduler"]["milestones"][-1] < 3000


@pytest.mark.parametrize("name", CHECKED)
def test_checks_train_what_is_fine_tuned(name: str) -> None:
    options, tuned = read(f"check_RAMiT_{name}"), read(f"finetune_RAMiT_{name}")
    for key in ("network_g", "scale", "model_type"):
        assert options[key] == tuned[key]
    assert options["val"]["metrics"] == tuned["val"]["metrics"]
    assert options["path"]["pretrain_network_g"] is None
    lq = {"LLE": "dark"}.get(name, f"LR_bicubic_{name.upper()}")
    for part in ("train", "val"):
        data = options["datasets"][part]
        assert data["dataroot_gt"] == f"datasets/photographs/{part}/HR.lmdb"
        assert data["dataroot_lq"] == f"datasets/photographs/{part}/{lq}.lmdb"
    assert options["datasets"]["train"]["gt_size"] == 32 * options["scale"]
    assert options["train"]["total_iter"] == 1000


@pytest.mark.parametrize(
    "path",
    sorted([*FOLDER.glob("t*_*.yml"), *FOLDER.glob("finetune_*.yml"), *FOLDER.glob("check_*.yml")]),
    ids=lambda p: p.name,
)
def test_files_pass_every_check(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_check_dataroot", lambda *_: None)
    monkeypatch.setattr(trials, "_smallest_image", lambda *_: None)  # of data that is not here
    # The weights are not here either: any file stands for them, for a warm start must have some.
    forced = [f"path:pretrain_network_g={Path(__file__).as_posix()}"]
    loaded = load_options(path, is_train=not path.name.startswith("test"), forced=forced)
    assert loaded["name"] in (path.stem, "demo")


def test_published_x2_schedule() -> None:
    """Rate at chosen iterations of the 500,000, by the scheduler and the warm-up that the trainer uses."""
    import torch
    from basicsr.models.lr_scheduler import MultiStepRestartLR

    train = read("train_RAMiT_x2")["train"]
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


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "speed"])
def test_benchmarks_measure_what_tests_measure(name: str) -> None:
    benchmark = read(f"benchmark_{name}")
    assert list(benchmark["networks"]) == BENCHMARKS[name]
    assert benchmark["baseline"] in benchmark["networks"]
    for network, entry in benchmark["networks"].items():
        tested = read(f"test_{network}_{name}")
        assert entry["network_g"] == tested["network_g"]
        assert entry["weights"] == tested["path"]["pretrain_network_g"]
        assert entry.get("param_key") == tested["path"].get("param_key_g")
        assert entry["published"] == f"{network}_{name}"
        assert benchmark["datasets"] == tested["datasets"]
        assert benchmark["val"]["metrics"] == tested["val"]["metrics"]
        assert benchmark["val"].get("sigma") == tested["val"].get("sigma")
        assert benchmark["scale"] == tested["scale"]


def test_the_benchmark_of_speed_needs_nothing() -> None:
    benchmark = read("benchmark_speed")
    assert list(benchmark["networks"]) == BENCHMARKS["speed"]
    assert not any(entry["weights"] for entry in benchmark["networks"].values())
    assert "datasets" not in benchmark
    assert "strips" not in benchmark


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_pass_the_checks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what is not there; each network's cost can be measured without it."""
    monkeypatch.chdir(tmp_path)
    plan = load_plan(FOLDER / f"benchmark_{name}.yml", incomplete=True)
    assert [network.name for network in plan.networks] == BENCHMARKS[name]
    modes = [case.mode for case in plan.cases]
    assert modes.count("train") >= 1
    assert modes.count("forward") >= 2
    with_data = read(f"benchmark_{name}").get("datasets", {})
    weights = 0 if name == "speed" else len(BENCHMARKS[name])
    assert len(plan.missing) == len(with_data) + weights
