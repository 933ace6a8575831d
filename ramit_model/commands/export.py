"""`basicsr export`."""

import argparse
import json
from typing import TYPE_CHECKING

from ramit_model.commands.parser import at_least, path_type
from ramit_model.system.errors import InputError

if TYPE_CHECKING:
    from ramit_model.export.exporting import Format

SUFFIXES: "dict[Format, str]" = {"onnx": ".onnx", "torch": ".pt2"}
"""Format -> suffix of its files."""


def add_export(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `basicsr export` its arguments."""
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help="file of weights, or a published name such as RAMiT-1_X2"
    )
    parser.add_argument(
        *("-o", "--out"), required=True, type=path_type, metavar="OUT", help="file to write: NAME.onnx or NAME.pt2"
    )
    parser.add_argument(
        "--format", choices=SUFFIXES, help="onnx, or torch for torch.export (default: by the suffix of OUT)"
    )
    parser.add_argument("--half", action="store_true", help="compute in float16 where that is accurate enough")
    parser.add_argument(
        "--opset", type=at_least(1), metavar="N", help="version of ONNX's operators, 18 or later (default: 18)"
    )
    parser.add_argument("--task", metavar="TASK", help="task of weights that do not tell it: CDN, DR or LLE")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, _: list[str]) -> int:
    kind: Format | None = args.format or next(
        (kind for kind, suffix in SUFFIXES.items() if suffix == args.out.suffix.lower()), None
    )
    if kind is None:
        raise InputError(f"--out {args.out}: end its name in {' or '.join(SUFFIXES.values())}, or say --format")
    if kind != "onnx" and args.opset is not None:
        raise InputError("--opset: is for ONNX only; leave it out")
    if args.out.is_dir():
        raise InputError(f"--out {args.out}: is a folder; name a file in it")
    if args.out.exists() and not args.overwrite:
        raise InputError(f"{args.out}: exists; add --overwrite to replace it")
    if not args.out.parent.is_dir():
        raise InputError(f"--out {args.out}: there is no folder {args.out.parent}; make it first")
    from ramit_model.export.exporting import export_network
    from ramit_model.export.onnx_file import DEFAULT_OPSET, check_opset, check_packages
    from ramit_model.inference.opened import open_network
    from ramit_model.inference.padding import size_unit

    opset = args.opset or DEFAULT_OPSET
    if kind == "onnx":
        check_packages()
        check_opset(opset)
    opened = open_network(args.weights, task=args.task)
    what = opened.options.get("variant") or opened.options["type"]
    scale = f" x{opened.scale}" if opened.scale > 1 else ""
    precision = "float16" if args.half else "float32"
    form = f"ONNX, opset {opset}" if kind == "onnx" else "torch.export"
    print(
        f"{opened.name}: {what}, {opened.task}{scale} -> {form}, {precision}; this takes one to three minutes",
        flush=True,
    )
    exported = export_network(
        opened.network,
        args.out,
        unit=size_unit(opened.network, opened.options),
        scale=opened.scale,
        channels=opened.channels,
        format=kind,
        half=args.half,
        opset=opset,
        metadata=_metadata(args, opened.options, opened.task, opened.scale, opened.name, precision),
    )
    worst = max(difference.largest for difference in exported.differences)
    each = "; ".join(map(str, exported.differences))
    print(f"largest difference from PyTorch: {worst:.1e} of 1, at most {exported.bound:.0e} ({each})")
    print(f"{exported.path} ({exported.size / 1e6:.1f} MB)")
    return 0


def _metadata(
    args: argparse.Namespace, options: dict[str, object], task: str, scale: int, name: str, precision: str
) -> dict[str, str]:
    """Facts to write into the file: those that the weights state, and those that are known of the network."""
    from ramit_model.inference.facts import package_version
    from ramit_model.inference.published_files import locate
    from ramit_model.inference.published_weights import published_weights
    from ramit_model.inference.weights import read_weight_file

    stated = read_weight_file(locate(args.weights)).facts
    source = stated.get("source") or next((each.url for each in published_weights() if each.name == name), None)
    facts = {
        "network_g": json.dumps(options),
        "task": task,
        "scale": scale,
        "weights": name,
        "source": source,
        "license": stated.get("license"),
        "precision": precision,
        "version": package_version(),
        "range": "0..1, not clamped",
    }
    return {key: str(value) for key, value in facts.items() if value is not None}
