"""`basicsr convert`: say what a file of weights is, and write it as safetensors or as BasicSR does."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramit_model.commands.parser import EXIT_INPUT_ERROR, path_type
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.files import check_folder

if TYPE_CHECKING:
    from ramit_model.inference.opened import Identified
    from ramit_model.inference.weights import WeightFile


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `basicsr convert` its arguments."""
    parser.add_argument(
        "files", nargs="+", metavar="IN", help="weights: .pth, .safetensors and the like, or a name such as RAMiT-1_X2"
    )
    parser.add_argument(
        *("-o", "--out"),
        type=path_type,
        metavar="OUT",
        help="NAME.safetensors, NAME.pth, or a folder for .safetensors files; without it, only say what the files are",
    )
    parser.add_argument("--half", action="store_true", help="write float16, half the size")
    parser.add_argument("--task", metavar="TASK", help="task of weights that do not tell it: CDN, DR or LLE")
    parser.add_argument(
        "--param-key", metavar="KEY", help="params or params_ema (default: the moving average, where there is one)"
    )
    parser.add_argument("--license", metavar="TEXT", help="license to state in the file")
    parser.add_argument("--source", metavar="TEXT", help="where the weights come from, such as an address")
    parser.add_argument(
        "--metrics", nargs="+", type=_metric, metavar="NAME=NUMBER", help="metrics to state: Set5_psnr=38.17"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(run=_run)


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER, such as Set5_psnr=38.17") from None


def _run(args: argparse.Namespace, _: list[str]) -> int:
    outputs = _outputs(args.files, args.out, overwrite=args.overwrite) if args.out else [None] * len(args.files)
    failed = 0
    for source, output in zip(args.files, outputs, strict=True):
        try:
            line = _convert(source, output, args)
        except (InputError, OSError) as error:
            failed += 1
            print(f"basicsr convert: {one_line(error)}", file=sys.stderr, flush=True)
        else:
            print(line, flush=True)
    return EXIT_INPUT_ERROR if failed else 0


def _outputs(files: list[str], out: Path, *, overwrite: bool) -> list[Path]:
    """File to write for each input.

    Raises:
        InputError: Two inputs would become one file, a file exists, or a file is where a folder is needed.
    """
    from ramit_model.inference.weight_writing import SUFFIXES

    if len(files) == 1 and not out.is_dir() and out.suffix.lower() in SUFFIXES:
        outputs = [out]
    elif out.suffix and not out.is_dir():
        what = "several inputs need a folder" if len(files) > 1 else f"end its name in {' or '.join(SUFFIXES)}"
        raise InputError(f"--out {out}: {what}")
    else:
        known = (".pth", ".pt", ".ckpt", ".bin", SUFFIXES[0])
        names = [Path(file).stem if Path(file).suffix.lower() in known else Path(file).name for file in files]
        outputs = [out / f"{name}{SUFFIXES[0]}" for name in names]
    for index, output in enumerate(outputs):
        if output in outputs[:index]:
            first = files[outputs.index(output)]
            raise InputError(f"{files[index]}: would become {output} as {first} does; convert them one by one")
        check_folder(output.parent)
        if output.exists() and not overwrite:
            raise InputError(f"{output}: exists; add --overwrite to replace it")
    return outputs


def _convert(source: str, output: Path | None, args: argparse.Namespace) -> str:
    """Convert a file, or only look at it; returns a line that says what it is."""
    from ramit_model.inference.opened import identify
    from ramit_model.inference.published_files import locate
    from ramit_model.inference.weight_writing import to_half, write_weights
    from ramit_model.inference.weights import read_weight_file

    file = read_weight_file(locate(source), args.param_key)
    found = identify(file, args.task)
    line = f"{source}: {_description(file, found)}"
    if output is None:
        return line
    try:
        weights = to_half(file.weights) if args.half else file.weights
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    output.parent.mkdir(parents=True, exist_ok=True)
    write_weights(weights, _facts(file, found, args), output)
    return f"{line} -> {output} ({output.stat().st_size / 1e6:.1f} MB)"


def _facts(file: "WeightFile", found: "Identified", args: argparse.Namespace) -> dict[str, Any]:
    from ramit_model.inference.facts import package_version

    given = {
        "license": args.license,
        "source": args.source or (found.published.url if found.published else None),
        "metrics": dict(args.metrics) if args.metrics else None,
    }
    return {
        **file.facts,
        "network_g": found.options,
        "task": found.task,
        "scale": found.scale,
        "version": package_version(),
        **{key: value for key, value in given.items() if value is not None},
    }


def _description(file: "WeightFile", found: "Identified") -> str:
    """Network, size, precision, and where the file has its weights."""
    options = found.options
    network = options.get("variant") or options["type"]
    if changed := options.keys() - {"type", "variant", "task", "scale"}:
        network = f"{network} with its own {', '.join(sorted(changed))}"
    count = sum(tensor.numel() for tensor in file.weights.values() if tensor.is_floating_point())
    kinds = sorted(
        {str(tensor.dtype).removeprefix("torch.") for tensor in file.weights.values() if tensor.is_floating_point()}
    )
    parts = [
        f"{network}, {found.task}{f' x{found.scale}' if found.scale > 1 else ''}",
        f"{count / 1e6:.2f} M parameters",
    ]
    parts.append(" and ".join(kinds))
    if found.published:
        parts.append(f"published as {found.published.name}")
    if file.wrapping:
        parts.append(f"under {' '.join(file.wrapping)}")
    if "iteration" in file.facts:
        parts.append(f"iteration {file.facts['iteration']}")
    return f"{', '.join(parts)} ({file.container})"
