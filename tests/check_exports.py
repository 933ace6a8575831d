"""Export every network and compare ONNX Runtime and OpenVINO with PyTorch, in float32 and float16.

Published weights where RAMIT_ASSETS has them, else trained ones of `tests/record_curves.py` where they are given, else
the published ones of another scale with a reproducible tail, else reproducible ones.
`python tests/check_exports.py --help`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).resolve().parent
# The folders of the tests are called like the packages.
sys.path[:] = [str(TESTS / "support"), *(path for path in sys.path if Path(path).resolve() != TESTS)]

from helpers import fill, network

from ramit_model.export.check import Difference, differences
from ramit_model.export.network import trace
from ramit_model.export.onnx_file import open_onnx, to_onnx
from ramit_model.inference.weights import read_weights

NAMES = (
    *(f"{variant}_x{scale}" for variant in ("RAMiT", "RAMiT-1", "RAMiT-slimSR") for scale in (2, 3, 4)),
    *("RAMiT_CDN", "RAMiT-1_CDN", "RAMiT_GDN", "RAMiT_LLE", "RAMiT-slimLLE_LLE", "RAMiT_DR"),
    *(f"NGswin_x{scale}" for scale in (2, 3, 4)),
)

CHECKED = ("RAMiT-1_x2", "RAMiT-1_x4", "RAMiT-slimLLE_LLE")
"""Networks that `options/check_*.yml` train."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help="networks (default: all 18)")
    parser.add_argument("--half", action="store_true", help="float16 instead of float32")
    parser.add_argument("--trained", type=Path, metavar="DIR", help="experiments of tests/record_curves.py")
    args = parser.parse_args()
    print("| network | weights | MB | " + " | ".join(("ONNX Runtime", "OpenVINO", "seconds")) + " |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for name in args.names:
        print(row(name, half=args.half, trained=args.trained), flush=True)


def row(name: str, *, half: bool, trained: Path | None) -> str:
    """Export one network; returns a row of the table."""
    started = time.monotonic()
    net = network(name).eval()
    kind = load(net, name, trained)
    about = {"unit": net.size_unit, "scale": net.scale, "channels": net.in_channels}
    content = to_onnx(trace(net, **about, half=half))
    runtimes: list[Callable[[np.ndarray], np.ndarray]] = [open_onnx(content)]
    openvino = open_openvino(content)
    runtimes += [openvino] if openvino else []
    largest = [worst(differences(run, net, **about)) for run in runtimes]
    cells = [*largest, *["-"] * (2 - len(largest)), f"{time.monotonic() - started:.0f}"]
    return " | ".join([f"| {name}", kind, f"{len(content) / 1e6:.1f}", *cells]) + " |"


def load(net: torch.nn.Module, name: str, trained: Path | None) -> str:
    """Give a network the most real weights that are here; returns their kind."""
    fill(net)
    if weights := published(name):
        net.load_state_dict(read_weights(weights))
        return "published"
    variant, task = name.rsplit("_", 1)
    checked = trained / f"check_RAMiT_{task}_0/models/net_g_latest.pth" if trained and name in CHECKED else None
    if checked and checked.is_file():
        net.load_state_dict(read_weights(checked))
        return "briefly trained"
    siblings = (published(f"{variant}_x{scale}") for scale in (2, 3, 4) if task.startswith("x"))
    if sibling := next(filter(None, siblings), None):
        own = net.state_dict()
        body = {key: value for key, value in read_weights(sibling).items() if value.shape == own[key].shape}
        net.load_state_dict(own | body)
        return f"those of {sibling.stem} but for the tail"
    return "reproducible"


def published(name: str) -> Path | None:
    """File of published weights, if it is here."""
    variant, task = name.rsplit("_", 1)
    spelling = task.upper() if variant != "NGswin" else task
    file = Path(os.environ.get("RAMIT_ASSETS", "none"), "weights", f"{variant}_{spelling}.pth")
    return file if file.is_file() else None


def open_openvino(content: bytes) -> Callable[[np.ndarray], np.ndarray] | None:
    """Open an ONNX file by OpenVINO on the CPU, in float32; None where it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model=content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled(images)[0]


def worst(found: list[Difference]) -> str:
    """The largest of several differences, and the size at which it is."""
    difference = max(found, key=lambda each: each.largest if each.largest == each.largest else float("inf"))
    return f"{difference.largest:.1e} ({str(difference).rpartition(':')[0]})"


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
