"""Values that are well-formed but fail in use end before anything runs: one line with the key and the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import changed, check_refused, testing_options, training_options
from torch import Tensor, nn

import ramit_model.basicsr_bridge as bridge
from ramit_model.config.options import load_options
from ramit_model.config.trials import attempt
from ramit_model.system.errors import InputError
from ramit_model.training.optimizers import known_optimizers

CHARBONNIER = {"type": "CharbonnierLoss", "eps": -1}
SSIM = {"type": "calculate_ssim", "crop_border": 2}
COSINE = {"type": "CosineAnnealingRestartLR", "periods": [8]}

MISTAKES: dict[str, tuple[str, Any, list[str]]] = {
    "border with a point": ("val.metrics.psnr.crop_border", 2.0, ["val.metrics.psnr.crop_border", "not 2.0"]),
    "negative border": ("val.metrics.psnr.crop_border", -1, ["val.metrics.psnr.crop_border", "not -1"]),
    "border of the whole image": (
        "val.metrics.psnr.crop_border",
        20,
        ["psnr.crop_border: 20", "datasets.val", "64x40"],
    ),
    "too little for the window": ("val.metrics.ssim.crop_border", 15, ["ssim.crop_border: 15", "too little is left"]),
    "yes as text": ("val.metrics.psnr.test_y_channel", "maybe", ["psnr.test_y_channel", "true or false", "'maybe'"]),
    "neither higher nor lower": ("val.metrics.psnr.better", "bigger", ["psnr.better", "higher or lower"]),
    "unknown order": ("val.metrics.ssim", {**SSIM, "input_order": "XYZ"}, ["val.metrics.ssim.input_order: 'XYZ'"]),
    "tuple as text": ("train.optim_g.betas", "(0.9,0.99)", ["train.optim_g.betas", "list of 2 numbers"]),
    "one beta": ("train.optim_g.betas", [0.9], ["train.optim_g.betas", "list of 2 numbers"]),
    "beta out of range": ("train.optim_g.betas", [1.5, 0.9], ["train.optim_g.betas: [1.5, 0.9]"]),
    "negative rate": ("train.optim_g.lr", -1, ["train.optim_g.lr: -1"]),
    "rate of 0": ("train.optim_g.lr", 0, ["train.optim_g.lr: must be above 0"]),
    "rate that is no number": ("train.optim_g.lr", float("nan"), ["train.optim_g.lr", "finite number"]),
    "infinite rate": ("train.optim_g.lr", float("inf"), ["train.optim_g.lr", "finite number"]),
    "yes for a rate": ("train.optim_g.lr", True, ["train.optim_g.lr", "finite number"]),
    "no rate": ("train.optim_g.lr", ..., ["train.optim_g.lr: is missing"]),
    "no weight decay": ("train.optim_g.weight_decay", None, ["train.optim_g.weight_decay", "None"]),
    "negative epsilon": ("train.optim_g.eps", -1, ["train.optim_g.eps: -1"]),
    "number for yes": ("train.optim_g.fused", 3, ["train.optim_g.fused", "true or false"]),
    "unknown reduction": ("train.pixel_opt.reduction", "avg", ["train.pixel_opt.reduction: 'avg'"]),
    "a loss for each pixel": ("train.pixel_opt.reduction", "none", ["train.pixel_opt.reduction: 'none'", "mean"]),
    "weight as text": ("train.pixel_opt.loss_weight", "1", ["train.pixel_opt.loss_weight", "'1'"]),
    "negative weight": ("train.pixel_opt.loss_weight", -1, ["train.pixel_opt.loss_weight: -1"]),
    "weight of 0": ("train.pixel_opt.loss_weight", 0, ["train.pixel_opt", "no gradient"]),
    "loss that is no number": ("train.pixel_opt", CHARBONNIER, ["train.pixel_opt.eps: -1", "nan"]),
    "negative factor": ("train.scheduler.gamma", -1, ["train.scheduler.gamma"]),
    "negative lowest rate": ("train.scheduler", {**COSINE, "eta_min": -1}, ["train.scheduler.eta_min"]),
    "negative seed": ("manual_seed", -5, ["manual_seed"]),
    "huge seed": ("manual_seed", 10**20, ["manual_seed"]),
    "half an iteration": ("logger.save_checkpoint_freq", 2.5, ["logger.save_checkpoint_freq", "a whole number"]),
    "never": ("val.val_freq", float("inf"), ["val.val_freq", "finite"]),
    "wandb without TensorBoard": ("logger.wandb", {"project": "x"}, ["logger.use_tb_logger", "wandb"]),
}


OPTIMIZER_MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "needs a closure": ({"type": "LBFGS"}, ["optim_g.type: LBFGS computes the network several times", "AdamW"]),
    "sparse gradients": ({"type": "SparseAdam"}, ["optim_g.type: SparseAdam takes sparse gradients", "AdamW"]),
    "no rates": ({"type": "Rprop"}, ["optim_g.type: Rprop has step sizes of its own", "AdamW"]),
    "the base class": ({"type": "Optimizer"}, ["optim_g.type: 'Optimizer' is not registered"]),
    "nearly a name": ({"type": "adamw"}, ["optim_g.type: 'adamw' is not registered; did you mean AdamW?"]),
    "option of another": ({"type": "AdamW", "momentum": 0.9}, ["optim_g.momentum: no such option"]),
    "misspelt": ({"type": "SGD", "momentun": 0.9}, ["optim_g.momentun: no such option; did you mean momentum?"]),
    "no rate": ({"type": "AdamW", "lr": ...}, ["optim_g.lr: is missing"]),
    "negative momentum": ({"type": "RMSprop", "momentum": -1}, ["optim_g.momentum: -1"]),
    "Nesterov without momentum": ({"type": "SGD", "nesterov": True}, ["optim_g.nesterov: True"]),
    "beta out of range": ({"type": "NAdam", "betas": [0.9, 1.0]}, ["optim_g.betas: [0.9, 1.0]"]),
    "one number for two": ({"type": "Adafactor", "eps": 0.001}, ["optim_g.eps: 0.001"]),
    "negative decay": ({"type": "AdamW", "weight_decay": -0.1}, ["optim_g.weight_decay: -0.1"]),
    "differentiable": ({"type": "Adamax", "differentiable": True}, ["optim_g.differentiable: True"]),
    "two implementations": ({"type": "AdamW", "fused": True, "foreach": True}, ["optim_g"]),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", OPTIMIZER_MISTAKES)
def test_optimizers_are_tried(mistake: str, pairs: Path, write_options: Callable[..., Path]) -> None:
    block, parts = OPTIMIZER_MISTAKES[mistake]
    block = {key: value for key, value in {"lr": 0.001, **block}.items() if value is not ...}
    path = write_options(changed(training_options(pairs), "train.optim_g", block))
    check_refused(path, [f"train.{part}" for part in parts[:1]] + parts[1:])


@pytest.mark.bad_input
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_what_a_cpu_cannot_do(pairs: Path, write_options: Callable[..., Path]) -> None:
    path = write_options(changed(training_options(pairs), "train.optim_g.capturable", True))
    check_refused(path, ["train.optim_g.capturable: True: "])


@pytest.mark.bad_input
@pytest.mark.skipif("Muon" not in known_optimizers(), reason="an older PyTorch")
def test_arguments_of_muon(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = changed(training_options(pairs), "train.optim_g", {"type": "Muon", "lr": 0.001, "betas": [0.9, 0.99]})
    load_options(write_options(options), is_train=True)
    path = write_options(changed(options, "train.optim_g.adjust_lr_fn", "any"))
    check_refused(path, ["train.optim_g.adjust_lr_fn: 'any'", "not supported"])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("train.optim_g.type", "AdamW", "train.optim_g.type: SRModel knows Adam only; use RestorationModel"),
        (
            "train.scheduler",
            {"type": "ConstantLR"},
            "train.scheduler.type: SRModel has no ConstantLR; use RestorationModel",
        ),
        ("train.skip_above", 4, "train.skip_above: SRModel has none; use RestorationModel"),
    ],
)
def test_basicsrs_model_knows_less(
    key: str, value: Any, line: str, pairs: Path, write_options: Callable[..., Path]
) -> None:
    options = changed(training_options(pairs), key, value)
    load_options(write_options(options), is_train=True)
    check_refused(write_options(changed(options, "model_type", "SRModel")), [line])


L1, FFT = {"type": "L1Loss"}, {"type": "FFTLoss", "loss_weight": 0.05}

LIST_MISTAKES: dict[str, tuple[Any, list[str]]] = {
    "no list": ({"type": "L1Loss"}, ["train.losses: must be a list"]),
    "an empty list": ([], ["train.losses: is empty; add an entry"]),
    "no block": ([L1, "FFTLoss"], ["train.losses[1]: must be a block of options, not 'FFTLoss'"]),
    "no type": ([L1, {"loss_weight": 1}], ["train.losses[1].type: is missing"]),
    "unknown type": ([L1, {"type": "FTLoss"}], ["train.losses[1].type: 'FTLoss'", "did you mean FFTLoss?"]),
    "unknown argument": ([L1, {**FFT, "weight": 1}], ["train.losses[1].weight: no such option", "loss_weight"]),
    "weight as text": ([{**FFT, "loss_weight": "high"}], ["train.losses[0].loss_weight", "finite number", "'high'"]),
    "number as text": ([L1, {**FFT, "loss_weight": "1e-2"}], ["train.losses[1].loss_weight: YAML reads 1e-2 as text"]),
    "number as a name": ([L1, {**FFT, "name": 3}], ["train.losses[1].name: must be text", "quotes"]),
    "two of a name": ([{**L1, "name": "a"}, {**FFT, "name": "a"}], ["train.losses[1].name", "train.losses[0]"]),
    "patches too small": ([L1, {"type": "MSSSIMLoss"}], ["train.losses[1]", "GT patches of at least 44 pixels"]),
    "too many scales": (
        [{"type": "MSSSIMLoss", "levels": 4}],
        ["train.losses[0]", "MSSSIMLoss with 4 levels needs GT patches of at least 88 pixels, not 32"],
    ),
    "scales beyond all": ([L1, {"type": "MSSSIMLoss", "levels": 9}], ["train.losses[1].levels: 9", "1, 2, 3, 4, 5"]),
    "a number for each pixel": ([FFT, {**L1, "reduction": "none"}], ["train.losses[1].reduction: 'none'", "mean"]),
    "negative weight": ([L1, {**FFT, "loss_weight": -1}], ["train.losses[1].loss_weight: -1"]),
    "no weight at all": ([{**L1, "loss_weight": 0}, {**FFT, "loss_weight": 0}], ["train.losses: ", "no gradient"]),
    "for a discriminator": ([L1, {"type": "GANLoss", "gan_type": "vanilla"}], ["train.losses[1]", "not images"]),
    "missing argument": ([{"type": "PerceptualLoss"}], ["train.losses[0].layer_weights: is missing"]),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", LIST_MISTAKES)
def test_every_loss_of_a_list_is_tried(mistake: str, pairs: Path, write_options: Callable[..., Path]) -> None:
    losses, parts = LIST_MISTAKES[mistake]
    options = changed(training_options(pairs), "train.pixel_opt", ...)
    check_refused(write_options(changed(options, "train.losses", losses)), parts)


@pytest.mark.bad_input
def test_a_list_beside_other_options(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = changed(training_options(pairs), "train.losses", [L1])
    check_refused(write_options(options), ["train.losses: train.pixel_opt is there, too"])
    options = changed(options, "train.pixel_opt", None)
    assert load_options(write_options(options), is_train=True) == options
    check_refused(write_options(changed(options, "model_type", "SRModel")), ["train.losses: SRModel has none"])


@pytest.mark.bad_input
def test_parts_of_a_batch_need_an_average(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = changed(training_options(pairs), "train.accumulate", 2)
    load_options(write_options(options), is_train=True)
    path = write_options(changed(options, "train.pixel_opt.reduction", "sum"))
    check_refused(path, ["train.accumulate: train.pixel_opt of a batch is not the average", "write 1"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_size": 0}, r"network_g\.window_size: 0: "),
        ({"upsampler": "pixelshuffledirect", "depths": 2}, r"network_g\.depths: 2: "),
        ({"num_heads": "six"}, r"network_g\.num_heads: 'six': "),
    ],
)
def test_networks_of_others_are_built(
    changes: dict[str, Any], message: str, pairs: Path, write_options: Callable[..., Path]
) -> None:
    small = {"type": "SwinIR", "upscale": 2, "img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [1]}
    network = {**small, "num_heads": [2], "mlp_ratio": 2}
    load_options(write_options(changed(testing_options(pairs), "network_g", network)), is_train=False)
    with pytest.raises(InputError, match=message):
        load_options(
            write_options(changed(testing_options(pairs), "network_g", {**network, **changes})), is_train=False
        )


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", MISTAKES)
def test_values_are_tried_before_anything_runs(
    mistake: str,
    pairs: Path,
    write_options: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    monkeypatch.chdir(tmp_path)
    key, value, parts = MISTAKES[mistake]
    path = write_options(changed(training_options(pairs), key, value))
    check_refused(path, parts)
    assert list(tmp_path.iterdir()) == [path]
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_a_test_tries_its_metrics(pairs: Path, write_options: Callable[..., Path]) -> None:
    path = write_options(changed(testing_options(pairs), "val.metrics.psnr.crop_border", 20))
    with pytest.raises(InputError, match=r"psnr\.crop_border: 20: .* of datasets\.test, 64x40 pixels"):
        load_options(path, is_train=False)


def test_wandb_must_be_installed(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = changed(training_options(pairs), "logger.wandb", {"project": "x"})
    options = changed(options, "logger.use_tb_logger", True)
    with pytest.raises(InputError, match=r"logger\.wandb: wandb is not installed; pip install wandb"):
        load_options(write_options(options), is_train=True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("compare_with", "experiments/no", r"compare_with: experiments/no: no such file; name the folder of an"),
        ("compare_with", "o.yml", r"compare_with: o\.yml: not a table of measurements"),
        ("compare_with", 5, r"compare_with: "),
        ("wandb", {"project": "x", "mode": "off"}, r"wandb\.mode: must be online or offline or disabled, not 'off'"),
    ],
)
def test_what_is_logged_is_checked(
    pairs: Path,
    key: str,
    value: Any,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_options: Callable[..., Path],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("o.yml").write_text("a,b\n1,2\n")
    path = write_options(changed(training_options(pairs), f"logger.{key}", value))
    with pytest.raises(InputError, match=rf"logger\.{line}"):
        load_options(path, is_train=True)


def test_cosine_periods_of_basicsrs_model_reach_the_end(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = changed(training_options(pairs), "train.scheduler", {**COSINE, "periods": [7]})
    load_options(write_options(options), is_train=True)  # ours keeps the last rate
    with pytest.raises(InputError, match=r"train\.scheduler\.periods: end after 7 iterations, but total_iter is 8"):
        load_options(write_options(changed(options, "model_type", "SRModel")), is_train=True)


def test_weights_that_a_loss_fetches(
    pairs: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class FromTheNetwork(nn.Module):
        def __init__(self, layer_weights: dict[str, float]) -> None:
            raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setitem(bridge.LOSS_REGISTRY._obj_map, "FromTheNetwork", FromTheNetwork)
    loss = {"type": "FromTheNetwork", "layer_weights": {"conv5_4": 1}}
    path = write_options(changed(training_options(pairs), "train.perceptual_opt", loss))
    with pytest.raises(InputError, match=r"train\.perceptual_opt: .* cannot be fetched .*pretrained_models"):
        load_options(path, is_train=True)


def test_the_option_that_fails_is_named() -> None:
    def function(needed: int, first: int = 0, second: int = 0) -> None:
        """Stand for a loss that looks at its second option only in use."""
        if second == 2:
            raise KeyError("two")

    with pytest.raises(InputError, match=r"^where\.second: 2: two \(remark\)$"):
        attempt(
            lambda a: function(**a), {"type": "x", "needed": 1, "first": 1, "second": 2}, function, "where", " (remark)"
        )


def test_losses_of_others_may_be_any_module(
    pairs: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(nn.Module):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return (output - target).square().mean()

    monkeypatch.setitem(bridge.LOSS_REGISTRY._obj_map, "Own", Own)
    load_options(write_options(changed(training_options(pairs), "train.pixel_opt", {"type": "Own"})), is_train=True)


def test_folders_of_a_run(
    pairs: Path, write_options: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    training = write_options(training_options(pairs), "training.yml")
    testing = write_options(testing_options(pairs), "testing.yml")
    Path("results").touch()
    Path("experiments").mkdir()
    Path("experiments/tiny").symlink_to("/nowhere")
    with pytest.raises(InputError, match="results: is a file, where a folder is needed"):
        load_options(testing, is_train=False)
    with pytest.raises(InputError, match="experiments/tiny: is a symbolic link that leads nowhere"):
        load_options(training, is_train=True)
    Path("experiments/tiny").unlink()
    load_options(training, is_train=True)
