"""Precision of computation, by the names that option files use. Imports torch late, for options are checked without."""

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

LowPrecision = Literal["bfloat16", "float16"]
"""Types that autocast computes in, as in `train.amp`."""
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
"""All of them; float32 and TF32 need no autocast."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def autocast_type(precision: str | None) -> "torch.dtype | None":
    """Type that autocast computes in; None for float32, TF32 and None, which need no autocast."""
    import torch

    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision or "")


def autocast(device_type: str, precision: str | None) -> "torch.autocast":
    """Context in which a forward pass computes in the given precision.

    Args:
        device_type: `cpu` or `cuda`.
        precision: One of `PRECISIONS`, or None for float32.
    """
    import torch

    kind = autocast_type(precision)
    return torch.autocast(device_type, kind, enabled=kind is not None)
