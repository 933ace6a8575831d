"""Networks of others that their files alone describe: weights that spandrel knows, and ONNX.

`network_g: {type: spandrel, weights: FILE}` and `{type: onnx, weights: FILE}` of option files.
"""

from typing import Any

FOREIGN = ("spandrel", "onnx")
"""Values of `network_g.type` that stand for a file."""


def is_foreign(network_g: Any) -> bool:
    """Whether options of a network name a file that describes it."""
    return isinstance(network_g, dict) and network_g.get("type") in FOREIGN
