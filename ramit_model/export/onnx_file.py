"""ONNX: write a traced network, and run it by ONNX Runtime."""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ramit_model.system.errors import InputError

INPUT, OUTPUT = "input", "output"
"""Names of the graph's input and output."""

DEFAULT_OPSET = 18
"""Lowest version that PyTorch writes: the most programs read it."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_packages() -> None:
    """Make sure that the packages of the extra are there.

    Raises:
        InputError: One is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {', '.join(missing)}: pip install 'ramit-basicsr[export]'")


def check_opset(opset: int) -> None:
    """Make sure that PyTorch and the package onnx can write an opset.

    Raises:
        InputError: They cannot.
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if not DEFAULT_OPSET <= opset <= newest:
        raise InputError(f"--opset {opset}: choose one from {DEFAULT_OPSET} to {newest}, which the package onnx knows")


def to_onnx(
    program: ExportedProgram, *, opset: int = DEFAULT_OPSET, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Translate a traced network.

    Args:
        program: From `ramit_model.export.network.trace`.
        opset: Version of ONNX's operators.
        metadata: Facts to write into the file.

    Returns:
        Content of the file: input `input`, output `output`, with batch, height and width of any size.
    """
    import onnx

    axes = {0: "batch", 2: "height", 3: "width"}
    with quiet():
        exported: Any = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: axes},
            opset_version=opset,
            verbose=False,
        )
    model = exported.model_proto
    # Notes on every node where in the Python code it came from: three quarters of the graph.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def open_onnx(content: bytes, *, threads: int | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Open an ONNX file by ONNX Runtime on the CPU.

    Args:
        content: The file.
        threads: Threads to compute with; None for one a core.

    Returns:
        (B, C, H, W) float32 -> (B, C, H * scale, W * scale) float32.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Context without the remarks of the exporter on itself."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
