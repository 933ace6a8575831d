"""Packages of torch.export (.pt2): write a traced network, and run it without its Python code."""

import io
import json
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.export import ExportedProgram

FACTS = "facts.json"
"""Extra file within a package, a JSON object of texts."""


def to_package(program: ExportedProgram, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Pack a traced network.

    Args:
        program: From `ramit_model.export.network.trace`.
        metadata: Facts to write into the package, as its extra file `facts.json`.

    Returns:
        Content of the file.
    """
    file = io.BytesIO()
    # With an example, the loaded program would refuse what the tracer took for granted of it: a batch above 1.
    program.example_inputs = None
    torch.export.save(program, file, extra_files={FACTS: json.dumps(dict(metadata or {}))})
    return file.getvalue()


def open_package(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Load a package.

    Args:
        content: The file.

    Returns:
        (B, C, H, W) float32 -> (B, C, H * scale, W * scale) float32.
    """
    module = torch.export.load(io.BytesIO(content)).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(images)).numpy()

    return run
