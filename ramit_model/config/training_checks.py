"""Checks of the block `train`: losses, optimizer and schedule exist and take the arguments that they are given."""

from ramit_model.config.option_file import Options
from ramit_model.config.schema import SCHEDULERS
from ramit_model.config.trials import try_optimizer
from ramit_model.config.validation import check_arguments, check_kinds, check_schema, find
from ramit_model.system.errors import InputError
from ramit_model.training.criteria import losses_of
from ramit_model.training.optimizers import UNFIT, known_optimizers


def check_training(options: Options, file: str) -> None:
    """Check losses, optimizer and schedule of a training against what they name, and try the optimizer."""
    from ramit_model.basicsr_bridge import LOSS_REGISTRY

    train = options["train"]
    try:
        losses = losses_of(train)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if not losses:
        raise InputError(f"{file}: train.pixel_opt: is missing; a loss is needed, for example {{type: L1Loss}}")
    for loss in losses:
        where = f"{file}: {loss.key}"
        kind = find(LOSS_REGISTRY, loss.block["type"], f"{where}.type")
        check_arguments(kind, loss.block, where, ignore=("type",))
        check_kinds(kind, loss.block, where)
    _check_optimizer(options, f"{file}: train.optim_g")
    schema = find(SCHEDULERS, train["scheduler"]["type"], f"{file}: train.scheduler.type")
    check_schema(schema, train["scheduler"], f"{file}: train.scheduler.")


def _check_optimizer(options: Options, where: str) -> None:
    """Check that the optimizer is one of PyTorch's that fits a training, and try its arguments."""
    block = options["train"]["optim_g"]
    kind = find(known_optimizers(), block["type"], f"{where}.type")
    if reason := UNFIT.get(block["type"]):
        raise InputError(f"{where}.type: {block['type']} {reason}; take another, for example AdamW")
    if block["type"] != "Adam" and options["model_type"] != "RestorationModel":
        raise InputError(f"{where}.type: {options['model_type']} knows Adam only; use RestorationModel")
    check_arguments(kind, block, where, ignore=("type",), given=("params",))
    check_kinds(kind, block, where)
    if "lr" not in block:
        raise InputError(f"{where}.lr: is missing; add it, for example 0.0004")
    try_optimizer(block, options["num_gpu"], where)
    if not block["lr"] > 0:
        raise InputError(f"{where}.lr: must be above 0, not {block['lr']!r}")
