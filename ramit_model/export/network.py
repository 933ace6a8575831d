"""Network as it is exported: images of any size in and out, everything else inside."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ramit_arch.layers import Normalisation
from ramit_model.inference.padding import mirror_index
from ramit_model.system.errors import InputError

EXAMPLE = (2, 61, 77)
"""Batch, height and width of the traced input: several windows each way, and no multiple of anything."""

MAX_SIDE, MAX_BATCH = 1 << 16, 1 << 10
"""Limits that the exporter is told; it asks for some."""

NEEDS_TORCH = (2, 13)
"""Earlier releases export for one size only."""


class AnySize(nn.Module):
    """A network with the symmetric padding around it that `run_padded` does, as operations on sizes not yet known.

    Args:
        network: (B, C, H, W) -> (B, C, H * scale, W * scale) for multiples of `unit`.
        unit: Multiple of height and width that the network needs, in pixels.
        scale: Output size over input size.

    Shape:
        (B, C, H, W), range 0..1 -> (B, C, H * scale, W * scale), any H and W from 1 up.
    """

    def __init__(self, network: nn.Module, *, unit: int, scale: int) -> None:
        super().__init__()
        self.network, self.unit, self.scale = network, unit, scale

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[-2:]
        x = input
        for axis, size in ((-2, height), (-1, width)):
            padded = (size + self.unit - 1) // self.unit * self.unit
            x = x.index_select(axis, mirror_index(size, padded).to(x.device))
        return self.network(x)[..., : height * self.scale, : width * self.scale]


def half_precision(network: nn.Module) -> nn.Module:
    """Copy of a network that computes in float16 and takes and gives float32.

    Normalisation, de-normalisation and the global residual stay float32, and so do, by the networks' own definition,
    norms, cosines and softmax of the attentions and the sums over all pixels.
    """
    network = deepcopy(network)
    layers = [child for child in network.children() if not isinstance(child, Normalisation)]
    for layer in layers:
        layer.half()
    layers[0].register_forward_pre_hook(_to_half)
    return network


def _to_half(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.half() for x in inputs)


def trace(network: nn.Module, *, unit: int, scale: int, channels: int, half: bool = False) -> ExportedProgram:
    """Trace a network for images of any size and number.

    Args:
        network: In eval mode, float32, on the CPU.
        unit: Multiple of height and width that the network needs, in pixels.
        scale: Output size over input size.
        channels: Channels C of the images.
        half: Compute in float16; see `half_precision`.

    Returns:
        Program with the input `input`: (B, C, H, W), range 0..1, float32 -> (B, C, H * scale, W * scale), not clamped.

    Raises:
        InputError: PyTorch is too old.
    """
    if torch.__version__ < NEEDS_TORCH:  # type: ignore[operator]
        least = ".".join(map(str, NEEDS_TORCH))
        raise InputError(f"PyTorch {torch.__version__} exports for one size only; install {least} or later")
    module = AnySize(half_precision(network) if half else network, unit=unit, scale=scale).eval()
    batch, height, width = EXAMPLE
    sizes = {
        0: Dim("batch", min=1, max=MAX_BATCH),
        2: Dim("height", min=1, max=MAX_SIDE),
        3: Dim("width", min=1, max=MAX_SIDE),
    }
    # Without it, a batch of one and a size of one window would be programs of their own.
    oblivious = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with torch.no_grad(), oblivious:
        example = torch.zeros(batch, channels, height, width)
        return torch.export.export(module, (example,), dynamic_shapes=(sizes,))
