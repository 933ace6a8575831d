"""Networks run by other programs than PyTorch, to time them side by side."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ramit_model.export.onnx_file import quiet


def run_elsewhere(network: nn.Module, runtime: str, example: Tensor) -> Callable[[Tensor], Tensor]:
    """Export a network for one size of images, the fastest form, and open it by another runtime.

    Both use as many threads of the CPU as PyTorch does.

    Args:
        network: In eval mode, float32, on the CPU.
        runtime: `onnxruntime` or `openvino`.
        example: Images of the size that will be run, (B, C, H, W).

    Returns:
        (B, C, H, W) -> (B, C, H * scale, W * scale)
    """
    with torch.no_grad(), quiet():
        exported: Any = torch.onnx.export(network, (example,), dynamo=True, verbose=False)
    content: bytes = exported.model_proto.SerializeToString()
    return OPENERS[runtime](content, torch.get_num_threads())


def _onnxruntime(content: bytes, threads: int) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _openvino(content: bytes, threads: int) -> Callable[[Tensor], Tensor]:
    import openvino

    core = openvino.Core()
    # In float32, as the others: on some processors bfloat16 would be its own choice.
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model=content), "CPU", settings)
    return lambda x: torch.from_numpy(compiled(x.numpy())[0])


OPENERS: dict[str, Callable[[bytes, int], Callable[[Tensor], Tensor]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
"""Runtime -> function that opens an ONNX file: (content, threads) -> (images -> images)."""
