"""Weights for the networks of a training or test, ours or BasicSR's."""

import os
from collections.abc import Collection
from typing import Any

from torch import nn

from ramit_model.basicsr_bridge import get_root_logger
from ramit_model.inference.opened import whose
from ramit_model.inference.weights import check_fit, read_weights, without_modules
from ramit_model.system.errors import InputError

REMEDY = "check network_g (variant, task, scale), or set path.strict_load_g: false to load what fits"


def load_weights(
    net: nn.Module,
    path: str | os.PathLike[str],
    *,
    strict: bool = True,
    param_key: str | None = "params",
    fresh: Collection[str] = (),
) -> None:
    """Load a file of weights, in any container and wrapping, into a network.

    Args:
        net: Network, bare.
        path: File of weights.
        strict: Whether names and shapes must match; otherwise what fits is loaded, and a line says how much that is.
        param_key: Key of the weights in a BasicSR file; bare files need none.
        fresh: Submodules that keep their weights.

    Raises:
        InputError: The file cannot be read, does not fit while `strict`, or nothing of it fits.
    """
    own, kind = net.state_dict(), type(net).__name__
    weights = without_modules(read_weights(path, param_key, own), fresh)
    without = f", without {', '.join(fresh)}" if fresh else ""
    get_root_logger().info(f"Loading {kind} from {path}{without}.")
    if strict:
        try:
            check_fit(net, weights, path, apart_from=fresh, remedy=REMEDY)
        except InputError as error:
            raise InputError(f"{error}{whose(path)}") from None
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        remedy = f"check network_g{whose(path)}"
        raise InputError(f"{path}: none of its {len(weights)} weights fits this {kind}; {remedy}")
    kept = [name for name in without_modules(own, fresh) if name not in fitting]
    if kept or len(fitting) < len(weights):
        first = f"; {len(kept)} keep their initial values ({kept[0]}{', ...' * (len(kept) > 1)})" if kept else ""
        get_root_logger().warning(
            f"{path}: {len(fitting)} of the {len(own)} tensors of this {kind} loaded{first}; "
            f"{len(weights) - len(fitting)} tensors of the file are not used"
        )
    net.load_state_dict(fitting, strict=False)


def load_network(
    self: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
) -> None:
    """`BaseModel.load_network` of BasicSR's own models."""
    load_weights(self.get_bare_model(net), load_path, strict=strict, param_key=param_key)
