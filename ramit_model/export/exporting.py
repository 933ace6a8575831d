"""Export a network to a file that was checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from ramit_model.export import check, onnx_file, torch_file
from ramit_model.export.network import trace
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically

Format = Literal["onnx", "torch"]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: The file.
        size: Bytes.
        differences: Differences from PyTorch's output in float64.
        bound: What they had to stay below, where PyTorch's own rounding does.
    """

    path: Path
    size: int
    differences: list[check.Difference]
    bound: float


def export_network(
    network: nn.Module,
    path: Path,
    *,
    unit: int,
    scale: int,
    channels: int,
    format: Format = "onnx",
    half: bool = False,
    opset: int = onnx_file.DEFAULT_OPSET,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Export a network for images of any size and number, check it, and write the file.

    Args:
        network: In eval mode, float32, on the CPU.
        path: File to write.
        unit: Multiple of height and width that the network needs, in pixels.
        scale: Output size over input size.
        channels: Channels of the images.
        format: `onnx`, or `torch` for a package of torch.export.
        half: Compute in float16, with float32 where accuracy needs it; input and output stay float32.
        opset: Version of ONNX's operators.
        metadata: Facts to write into the file.

    Raises:
        InputError: A package is missing, the opset is unknown, or the exported network differs too much from PyTorch's;
            then nothing is written.
        OSError: The file could not be written; then it is as it was before.
    """
    if format == "onnx":
        onnx_file.check_packages()
        onnx_file.check_opset(opset)
    program = trace(network, unit=unit, scale=scale, channels=channels, half=half)
    run: Callable[[np.ndarray], np.ndarray]
    if format == "onnx":
        content = onnx_file.to_onnx(program, opset=opset, metadata=metadata)
        run = onnx_file.open_onnx(content)
    else:
        content = torch_file.to_package(program, metadata=metadata)
        run = torch_file.open_package(content)
    found = check.differences(run, network, unit=unit, scale=scale, channels=channels)
    bound = check.HALF_BOUND if half else check.BOUND
    for difference in found:
        if not difference.within(bound):
            hint = "; leave --half out" if half else ""
            raise InputError(f"{path}: not written: differs from PyTorch at {difference}, more than {bound:.0e}{hint}")
    write_atomically(content, path)
    return Exported(path, len(content), found, bound)
