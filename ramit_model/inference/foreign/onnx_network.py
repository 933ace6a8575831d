"""Networks in ONNX, run by ONNX Runtime on the CPU."""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ramit_model.inference.foreign.network import ForeignNetwork, existing, random_image
from ramit_model.system.errors import InputError, one_line

UNITS = (1, 2, 4, 8, 16, 32, 64)
"""Multiples that sizes of inputs are tried for."""
SIDE = 64
"""Pixels: sizes that are tried are this and a multiple more."""
INPUT_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


@dataclass(frozen=True)
class Opened:
    """Session of ONNX Runtime for a network.

    Attributes:
        session: `onnxruntime.InferenceSession`.
        entry: Name of the input.
        dtype: Type of input and output.
        channels: Channels of the images.
        one_by_one: Whether it takes one image at a time.
    """

    session: Any
    entry: str
    dtype: torch.dtype
    channels: int
    one_by_one: bool

    def run(self, images: Tensor) -> Tensor:
        """Restore images (B, C, H, W) of a size that the network takes, on the CPU."""
        given = images.detach().to("cpu", self.dtype)
        parts = given.split(1) if self.one_by_one else [given]
        results = [torch.from_numpy(self.session.run(None, {self.entry: part.numpy()})[0]) for part in parts]
        return torch.cat(results).to(images.device, images.dtype)


class OnnxNetwork(ForeignNetwork):
    """Network that ONNX Runtime runs.

    Args:
        path: File.
        opened: Its session.
        program: Program and version that run it.

    Raises:
        InputError: It does not map an image to an image.
    """

    trains = False

    def __init__(self, path: Path, opened: Opened, program: str) -> None:
        unit, scale = _size_unit(path, opened)
        super().__init__(
            path=path,
            description=f"ONNX by {program}",
            scale=scale,
            in_channels=opened.channels,
            size_unit=unit,
            precisions={"float32"},
            parameters_in_file=_count_parameters(path),
        )
        self.opened = opened

    def restore(self, image: Tensor) -> Tensor:
        """Restore images of a size that the network takes."""
        return self.opened.run(image)


def onnx(weights: str) -> OnnxNetwork:
    """Load a network in ONNX; `network_g.type: onnx`.

    Args:
        weights: File with one input, (B, C, H, W) in 0..1, and the restored images as its first output.

    Raises:
        InputError: ONNX Runtime is not installed, or the file cannot be read or is no such network.
    """
    for package in ("onnxruntime", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"type onnx needs the package {package}: pip install 'ramit-basicsr[export]'")
    path = existing(weights)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"{path}: ONNX Runtime cannot read it: {one_line(error)}") from None
    return OnnxNetwork(path, _opened(path, session), f"ONNX Runtime {onnxruntime.__version__}")


def _opened(path: Path, session: Any) -> Opened:
    """Look at the inputs of a session.

    Raises:
        InputError: They are not images of any size.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in INPUT_TYPES:
        given = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
        raise InputError(f"{path}: must have one input of floats (B, C, H, W), not {given or 'none'}")
    batch, channels, height, width = inputs[0].shape
    if isinstance(height, int) or isinstance(width, int):
        raise InputError(f"{path}: takes images of {width}x{height} pixels only; export it for images of any size")
    channels = channels if isinstance(channels, int) else 3
    return Opened(session, inputs[0].name, INPUT_TYPES[inputs[0].type], channels, one_by_one=batch == 1)


def _size_unit(path: Path, opened: Opened) -> tuple[int, int]:
    """The smallest unit of sizes that a network takes and enlarges by a whole number, and that number.

    Raises:
        InputError: There is none.
    """
    reason = "its output is no enlarged image"
    for unit in UNITS:
        height, width = SIDE + unit, SIDE + 3 * unit
        try:
            output = opened.run(random_image(opened.channels, height, width))
        except Exception as error:  # ONNX Runtime has a kind of exception for each kind of failure
            reason = one_line(error)
            continue
        scale = output.shape[-1] // width
        if scale and output.shape == (1, opened.channels, height * scale, width * scale):
            return unit, scale
    raise InputError(f"{path}: cannot restore an image of any size that was tried ({reason}); check the export")


def _count_parameters(path: Path) -> int:
    """Number of values of the floating-point initialisers, and of constants of more than one.

    Raises:
        InputError: They are in further files, which the checksum of this one says nothing about.
    """
    from onnx import AttributeProto, TensorProto, load

    graph = load(path, load_external_data=False).graph
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    constants = [attribute.t for attribute in attributes if attribute.type == AttributeProto.TENSOR]
    tensors = [*graph.initializer, *(tensor for tensor in constants if math.prod(tensor.dims) > 1)]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        raise InputError(f"{path}: its weights are in further files; export it into one")
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type in floats)
