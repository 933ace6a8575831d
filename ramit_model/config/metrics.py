"""Blocks of `val.metrics`: their checks, and which of them are better when lower."""

from ramit_model.config.option_file import Options
from ramit_model.config.validation import check_arguments, check_kinds, find
from ramit_model.inference.perceptual_metrics import LOWER_IS_BETTER, better_of
from ramit_model.system.errors import InputError


def check_metrics(metrics: Options, file: str) -> None:
    """Check that metrics are registered and have the arguments that they take."""
    from ramit_model.basicsr_bridge import METRIC_REGISTRY

    for name, metric in metrics.items():
        where = f"{file}: val.metrics.{name}"
        function = find(METRIC_REGISTRY, metric["type"], f"{where}.type")
        check_arguments(function, metric, where, ignore=("type", "better"), given=("img", "img2"))
        check_kinds(function, metric, where)
        border = metric.get("crop_border", 0)
        if type(border) is not int or border < 0:
            raise InputError(f"{where}.crop_border: must be a whole number from 0 up, not {border!r}")
        if metric.get("better", "higher") not in ("higher", "lower"):
            raise InputError(f"{where}.better: must be higher or lower, not {metric['better']!r}")
        if metric["type"] in LOWER_IS_BETTER and better_of(metric) == "higher":
            raise InputError(f"{where}.better: {metric['type']} is better when lower; write lower, or leave it out")


def say_what_is_better(metrics: Options) -> None:
    """State in the blocks of distances that lower is better, for BasicSR takes higher for better otherwise."""
    for metric in metrics.values():
        if better_of(metric) == "lower":
            metric["better"] = "lower"
