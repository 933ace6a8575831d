"""Parameters, Mult-Adds and activations of a network, by PyTorch's counter on the meta device."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ramit_model.basicsr_bridge import build_network
from ramit_model.benchmark.measure.isolation import prepare_process
from ramit_model.benchmark.results import PUBLISHED_OUTPUT, Counts
from ramit_model.config.option_file import Options
from ramit_model.inference.padding import size_unit


class _Formula:
    """Formula of `flop_registry` that also records the number of output elements of its operator."""

    _get_raw = True  # FlopCounterMode: hand over tensors, not their shapes

    def __init__(self, formula: Callable[..., int], sizes: list[int]) -> None:
        self.formula, self.sizes = formula, sizes

    def __call__(self, *args: Any, out_val: Any, **kwargs: Any) -> int:
        # Fused attention puts out further tensors, for its backward pass.
        result = out_val[0] if isinstance(out_val, tuple) else out_val
        self.sizes.append(result.numel())
        return self.formula(*args, out_val=out_val, **kwargs)


def count(
    network: nn.Module,
    *,
    channels: int,
    scale: int,
    unit: int,
    output: tuple[int, int] = PUBLISHED_OUTPUT,
    device: str = "meta",
) -> Counts:
    """Count parameters, and Mult-Adds and activations of a forward pass of one image.

    Convolutions and matrix products are counted (linear layers and attention included; fused attention as its two
    products), but not norms, activation functions, additions or interpolation. On the meta device nothing is computed,
    and features take no memory.

    Args:
        network: Maps (1, C, H, W) to (1, C', H * scale, W * scale). Not modified.
        channels: Number of input channels, C.
        scale: Output size over input size.
        unit: Multiple, in pixels, that a restoration pads inputs to; 1 for none.
        output: Width and height of the output, pixels. The input is that over `scale`, rounded up, and padded.
        device: `meta`; or `cpu`, to run a network that needs data.

    Raises:
        RuntimeError: The network needs data, and the device is meta: it reads values, or holds tensors that are neither
            parameters nor buffers. Networks of others may raise anything else.
    """
    # Also for what the network makes in its forward pass: SwinIR's masks for shifted windows.
    with torch.device(device), torch.no_grad():
        image = torch.zeros(1, channels, *(_padded(math.ceil(size / scale), unit) for size in reversed(output)))
        sizes: list[int] = []
        formulas = {operator: _Formula(formula, sizes) for operator, formula in flop_registry.items()}
        shapes_only = deepcopy(network).to(device).eval()
        with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
            shapes_only(image)
    return Counts(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        mult_adds=counter.get_total_flops() / 2,
        activations=float(sum(sizes)),
        output=output,
    )


def count_by_running(network_g: Options, scale: int) -> Iterator[Counts]:
    """Count a network that needs data by one run on the CPU; for a process of its own, which may be killed.

    Args:
        network_g: Options of the network.
        scale: Output size over input size.
    """
    prepare_process()
    network = build_network(deepcopy(network_g))
    unit, channels = size_unit(network, network_g), channels_of(network, network_g)
    yield count(network, channels=channels, scale=scale, unit=unit, device="cpu")


def channels_of(network: nn.Module, network_g: Options) -> int:
    """Channels of a network's input: an attribute of ours, an option of BasicSR's."""
    told: int = network_g.get("in_chans") or network_g.get("num_in_ch") or 3
    return int(getattr(network, "in_channels", told))


def _padded(size: int, unit: int) -> int:
    return math.ceil(size / unit) * unit
