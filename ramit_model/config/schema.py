"""Schema of the option files of trainings and tests: every block, its options, their types, ranges and meaning.

The JSON schema for editors and the tables of `options/README.md` are generated from the descriptions.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from ramit_model.config.blocks import (
    Block,
    Count,
    Gpus,
    Interval,
    Natural,
    NotNegative,
    Positive,
    Seed,
    Sigma,
    Typed,
)
from ramit_model.inference.precision import LowPrecision


class Paths(Block):
    """Weights and states to begin with."""

    pretrain_network_g: str | None = Field(
        default=None,
        description="Weight file to load, or the name of a published one, as RAMiT-1_X2; ~ begins with random weights.",
    )
    strict_load_g: bool = Field(
        default=True, description="Refuse weights whose names differ from those of the network."
    )
    param_key_g: str | None = Field(
        default="params", description="Key of the weights in the file: params, or params_ema for the moving average."
    )
    resume_state: str | None = Field(
        default=None, description="Training state (.state) to resume from; see `--auto_resume`."
    )
    ignore_resume_networks: list[str] | None = Field(
        default=None, description="Networks that keep `pretrain_network_g` when a training is resumed."
    )


class Progressive(Block):
    """Stages of a progressive training; the rate is `lr * batch / first batch`. All lists have the same length."""

    iters: Annotated[list[Natural], Field(min_length=1)] = Field(
        description="Iterations of each stage; their sum is `total_iter`, less the warm start."
    )
    patch_sizes: list[Natural] = Field(description="Side of the patches in each stage, LQ pixels.")
    batch_sizes: list[Natural] = Field(description="Patches an iteration in each stage, all processes together.")


class WarmStart(Block):
    """First part of a training, in which only some modules train, at the constant base rate."""

    iters: Natural = Field(description="Iterations; then everything trains with a fresh optimizer.")
    trainable: Annotated[list[str], Field(min_length=1)] = Field(
        description="Modules that train, and that are not loaded from `path.pretrain_network_g`."
    )


class MultiStep(Block):
    """Rate that is multiplied by a factor at each milestone."""

    type: str = Field(description="MultiStepLR or MultiStepRestartLR.")
    milestones: list[Count] = Field(description="Iterations after which the rate falls, from the end of a warm start.")
    gamma: NotNegative = Field(0.1, description="Factor at each milestone.")
    restarts: list[Count] = Field(default=[0], description="Iterations at which the schedule restarts.")
    restart_weights: list[NotNegative] = Field(default=[1], description="Factor of the base rate at each restart.")


class CosineAnnealing(Block):
    """Rate that falls along a cosine in each period."""

    type: str = Field(description="CosineAnnealingRestartLR.")
    periods: Annotated[list[Natural], Field(min_length=1)] = Field(description="Iterations of each period.")
    restart_weights: list[NotNegative] = Field(default=[1], description="Factor of the base rate in each period.")
    eta_min: NotNegative = Field(default=0, description="Lowest rate.")


class CosineSchedule(Block):
    """Rate that falls along one cosine from the end of the warm-up, as PyTorch's scheduler of this name does."""

    type: str = Field(description="CosineAnnealingLR.")
    T_max: Natural | None = Field(
        default=None,
        description="Iterations until `eta_min` is reached; then the rate rises again. ~ takes all up to the end.",
    )
    eta_min: NotNegative = Field(default=0, description="Lowest rate.")


class ConstantSchedule(Block):
    """Rate that stays, after the warm-up."""

    type: str = Field(description="ConstantLR.")


class ListedLoss(Typed):
    """Loss of the list `train.losses`."""

    type: str = Field(
        description="L1Loss, MSELoss, CharbonnierLoss, FFTLoss, SSIMLoss, MSSSIMLoss, PerceptualLoss, WeightedTVLoss "
        "or one of your own; the other keys are its arguments."
    )
    name: str | None = Field(
        default=None,
        description="Name in logs, behind `l_`; ~ takes the type in small letters without Loss (`l_fft` of FFTLoss), "
        "with a number where that is taken.",
    )


class Train(Block):
    """Length, rates and losses of a training."""

    total_iter: Natural = Field(description="Iterations (optimizer steps) in all, with the warm start.")
    warmup_iter: int = Field(
        default=-1, description="Iterations in which the rate rises linearly from 0 to its full value; -1 for none."
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0, description="Decay of the moving average of the weights, which validation and tests use; 0 for none."
    )
    optim_g: Typed = Field(
        description="Optimizer of `torch.optim`, as `type: Adam` or `type: AdamW`, and its arguments: lr, betas, "
        "weight_decay, fused, ..."
    )
    scheduler: Typed = Field(
        description="Rate over the iterations: MultiStepLR, CosineAnnealingRestartLR, CosineAnnealingLR or ConstantLR."
    )
    pixel_opt: Typed | None = Field(
        default=None, description="Loss between pixels, with its arguments, as `{type: L1Loss}`."
    )
    perceptual_opt: Typed | None = Field(default=None, description="BasicSR's PerceptualLoss, with its arguments.")
    # RestorationModel's own.
    losses: Annotated[list[ListedLoss], Field(min_length=1)] | None = Field(
        default=None,
        description="Any number of losses, whose sum is trained, in place of `pixel_opt` and `perceptual_opt`.",
    )
    progressive: Progressive | None = Field(
        default=None, description="Stages of growing patches; replaces `gt_size` and `batch_size_per_gpu`."
    )
    warm_start: WarmStart | None = Field(
        default=None, description="Train some modules first, on a trained model's others."
    )
    amp: LowPrecision | None = Field(
        default=None, description="Mixed precision by autocast, float16 with a loss scaler; ~ computes in float32."
    )
    grad_clip: Positive | None = Field(default=None, description="Largest L2 norm of the gradient; ~ for no limit.")
    skip_above: Annotated[float, Field(gt=1)] | None = Field(
        default=None,
        description="Skip iterations whose gradient norm is above so many times the median of the last 100.",
    )
    accumulate: Natural = Field(
        default=1, description="Parts that each batch is computed in: less memory, the same gradients."
    )
    compile: bool = Field(default=False, description="Train with `torch.compile`, which needs a C++ compiler.")
    channels_last: bool = Field(default=False, description="Memory layout of network and images.")
    activation_checkpointing: bool = Field(
        default=False, description="Keep only the input of each block and recompute the rest: less memory, more time."
    )


class Val(Block):
    """Validation and tests."""

    save_img: bool = Field(description="Save the restored images.")
    val_freq: Interval | None = Field(default=None, description="Iterations between validations.")
    suffix: str | None = Field(
        default=None,
        description="Appended to the names of saved images; ~ appends the name of the run. Tests must have it.",
    )
    pbar: bool = Field(default=True, description="Show a progress bar.")
    metrics: dict[str, Typed] | None = Field(
        default=None, description="Name -> BasicSR's metric with its arguments: crop_border, test_y_channel, better."
    )
    sigma: Annotated[list[Sigma], Field(min_length=1)] | None = Field(
        default=None, description="Noise levels at which sets of clean images are tested, in 8-bit gray levels."
    )
    tb_images: Count = Field(default=0, description="Pictures of each validation set for TensorBoard.")
    tile: Natural | Literal["auto"] | None = Field(
        default=None,
        description="Side of tiles in LQ pixels; auto tiles images that memory is too small for; ~ for whole images.",
    )


class TrainVal(Val):
    """Validation during a training."""

    val_freq: Interval = Field(description="Iterations between validations.")
    at_start: bool = Field(
        default=True,
        description="Validate the weights that a training begins with, too; they count for the best network.",
    )


class Logger(Block):
    """Log lines and checkpoints of a training."""

    print_freq: Natural = Field(description="Iterations between log lines.")
    save_checkpoint_freq: Interval = Field(description="Iterations between checkpoints, all of which are kept.")
    use_tb_logger: bool = Field(description="Write TensorBoard files into `tb_logger/NAME`.")
    wandb: dict[str, Any] | None = Field(
        default=None, description="Weights & Biases: `{project: NAME, resume_id: ~, mode: offline}`."
    )
    learning_curve: bool = Field(
        default=True, description="Draw `learning_curve.png` into the experiment at each validation."
    )
    compare_with: str | None = Field(
        default=None,
        description="Folder of another experiment, or a file like its `validation.csv`, to draw beside the curve.",
    )


class DistParams(Block):
    """Several processes that work together."""

    backend: str = Field(default="nccl", description="Ignored: NCCL is taken on GPUs, gloo without.")
    port: Natural | None = Field(default=None, description="Port of the first process; only Slurm needs it.")
    timeout: Natural | None = Field(
        default=None,
        description="Seconds that a process waits for the others before it gives them up, as when a machine has lost "
        "its power; ~ for those of PyTorch, 600 with NCCL and 1800 without.",
    )


class Common(Block):
    """Options outside the blocks."""

    name: Annotated[str, Field(min_length=1)] = Field(
        description="Name of the run and its folders: letters, digits and . + - _ only."
    )
    model_type: str = Field(description="Trainer; RestorationModel or a model of BasicSR's.")
    scale: Natural = Field(description="Output size over input size; 1 for all tasks but super-resolution.")
    num_gpu: Gpus = Field(description="GPUs, or auto for those that there are; 0 runs on the CPU.")
    manual_seed: Seed | None = Field(
        default=None, description="Seed of all random numbers; ~ takes another in each run."
    )
    datasets: dict[str, dict[str, Any]] = Field(
        description="train, val and val_1, ... for a training; val or test_1, ... for a test; ~ leaves a set out."
    )
    network_g: Typed = Field(description="Network, with its hyper-parameters.")
    path: Paths = Field(description="Weight file and training state to begin with.")
    dist_params: DistParams | None = Field(default=None, description="Several processes.")
    find_unused_parameters: bool = Field(default=False, description="DistributedDataParallel's option of this name.")


class TrainOptions(Common):
    """Option file of `basicsr train`."""

    train: Train = Field(description="Length, rates and losses.")
    val: TrainVal | None = Field(default=None, description="Validation; ~ for none.")
    logger: Logger = Field(description="Log lines and checkpoints.")


class TestOptions(Common):
    """Option file of `basicsr test`."""

    val: Val = Field(description="What is measured and saved.")
    train: dict[str, Any] | None = Field(default=None, description="Accepted, but not read.")
    logger: dict[str, Any] | None = Field(default=None, description="Accepted, but not read.")


CHECKED_MODELS = ("RestorationModel", "SRModel")
"""Models whose option files have this schema."""

RESTORATION_MODEL_OPTIONS = (
    "losses",
    "progressive",
    "warm_start",
    "amp",
    "grad_clip",
    "skip_above",
    "accumulate",
    "compile",
    "channels_last",
    "activation_checkpointing",
)
"""Options in `train` that only RestorationModel knows."""

SCHEDULERS: dict[str, type[Block]] = {
    "MultiStepLR": MultiStep,
    "MultiStepRestartLR": MultiStep,
    "CosineAnnealingRestartLR": CosineAnnealing,
    "CosineAnnealingLR": CosineSchedule,
    "ConstantLR": ConstantSchedule,
}

RESTORATION_MODEL_SCHEDULERS = ("CosineAnnealingLR", "ConstantLR")
"""Schedules that only RestorationModel knows."""
