"""Verb `basicsr prepare`: a parser for each family, `check`, `list`."""

import argparse
import difflib
import sys
from dataclasses import replace
from pathlib import Path

from datasets_prep.families import FAMILIES, own_folder
from datasets_prep.sub_images import Grid
from ramit_model.commands.parser import EXIT_INTERRUPTED, Parser, at_least, path_type
from ramit_model.system.errors import InputError
from ramit_model.system.paths import expand


def add_prepare(prepare: argparse.ArgumentParser) -> None:
    """Add the families, `check` and `list` to the parser of `basicsr prepare`."""
    families = prepare.add_subparsers(dest="family", metavar="FAMILY", required=True, parser_class=Parser)
    common = Parser(add_help=False)
    common.add_argument(
        "--source",
        required=True,
        nargs="+",
        action="extend",
        metavar="[LABEL=]PATH",
        help="folders or archives (zip, tar, tar.gz ...), read in place; a label (gt, lq, x2 ..., or a collection such "
        "as DIV2K) says what is in it, where folders are not named as usual",
    )
    common.add_argument("--out", required=True, type=path_type, metavar="DIR", help="folder of data sets")
    common.add_argument(
        "--compress-level", type=int, choices=range(10), default=1, metavar="N", help="of PNGs, 0 to 9 (default: 1)"
    )
    common.add_argument("--jobs", type=at_least(1), metavar="N", help="processes (default: one a core)")
    common.add_argument("--force", action="store_true", help="replace what is there")
    grid = Parser(add_help=False)
    grid.add_argument(
        "--crop-size", type=at_least(0), metavar="N", help="cut squares of N GT pixels; 0 keeps images whole"
    )
    grid.add_argument("--step", type=at_least(1), metavar="N", help="distance of squares (default: half of N)")
    grid.add_argument(
        "--thresh-size", type=at_least(0), default=0, metavar="N", help="leave up to N pixels at the border"
    )
    for family in FAMILIES.values():
        parser = families.add_parser(
            family.name,
            allow_abbrev=False,
            parents=[common] if family.grid is None else [common, grid],
            help=f"{'training' if family.purpose == 'train' else 'test'} data, {family.images:,} images",
            description=f"Writes {', '.join(family.outputs.values())} below --out.",
            epilog=f"basicsr prepare list {family.name} says what it needs and where to get it.",
        )
        if "x2" in family.outputs:
            parser.add_argument(
                "--scale", type=int, nargs="+", choices=(2, 3, 4), default=[2, 3, 4], metavar="N", help="default: 2 3 4"
            )
        parser.add_argument("--incomplete", action="store_true", help="accept fewer images than published")
        parser.set_defaults(run=_prepare)
    folder = families.add_parser(
        "folder",
        allow_abbrev=False,
        parents=[common, grid],
        help="images of your own: clean ones, or pairs",
        description="Clean images become HR.lmdb and LR_bicubic_X{N}.lmdb (MATLAB's bicubic, bit for bit), or GT.lmdb "
        "alone without --scale; pairs, given as --source gt=DIR lq=DIR, become GT.lmdb and LQ.lmdb.",
    )
    folder.add_argument(
        "--scale",
        type=at_least(2),
        nargs="+",
        default=[],
        metavar="N",
        help="of super-resolution; for pairs, GT over LQ size",
    )
    folder.add_argument(
        "--key",
        metavar="REGEX",
        help="for pairs whose names are not equal and follow no known pattern: what GT and LQ names have in common, "
        r"for example '(\d+)'",
    )
    folder.set_defaults(run=_prepare, incomplete=False)
    photographs = families.add_parser(
        "photographs",
        allow_abbrev=False,
        help="a small set of embedded photographs for all tasks",
        description="Writes photographs of scikit-image, reduced, darkened and rained upon, into DIR/photographs: what "
        "options/check_*.yml train on, to see within minutes whether a set-up trains as it should.",
    )
    photographs.add_argument("--out", required=True, type=path_type, metavar="DIR", help="folder of data sets")
    photographs.set_defaults(run=_prepare_photographs)
    check = families.add_parser(
        "check",
        allow_abbrev=False,
        help="make sure that prepared data is whole",
        description="Every entry must decode and be as recorded, LQ and GT must match. Looks below PATH for LMDBs and "
        "prepared folders.",
    )
    check.add_argument("paths", nargs="+", type=path_type, metavar="PATH")
    check.add_argument("--jobs", type=at_least(1), metavar="N", help="processes (default: one a core)")
    check.set_defaults(run=_prepare_check)
    listing = families.add_parser("list", allow_abbrev=False, help="all families: what they need, where to get it")
    listing.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    listing.set_defaults(run=_prepare_list)


def _prepare(args: argparse.Namespace, _: list[str]) -> int:
    from datasets_prep.preparation import Settings, prepare

    sources = [_source(text, args.family) for text in args.source]
    scales = tuple(sorted(set(getattr(args, "scale", ()))))
    crop_size = getattr(args, "crop_size", None)
    if crop_size is None and (getattr(args, "step", None) or getattr(args, "thresh_size", 0)):
        raise InputError("--step and --thresh-size need --crop-size")
    grid = None
    if crop_size:
        try:
            grid = Grid(crop_size, args.step or max(1, crop_size // 2), args.thresh_size)
        except ValueError as error:
            raise InputError(f"--crop-size, --step, --thresh-size: {error}") from None
    pairs = any(label == "lq" for label, _ in sources)
    if args.family == "folder":
        if pairs and len(scales) > 1:
            raise InputError("--scale: pairs have one scale, GT size over LQ size")
        family = own_folder(pairs=pairs, scales=scales, grid=grid)
    else:
        family = FAMILIES[args.family] if crop_size is None else replace(FAMILIES[args.family], grid=grid)
    settings = Settings(
        scales=scales,
        compress_level=args.compress_level,
        jobs=args.jobs,
        force=args.force,
        incomplete=args.incomplete,
        pair_scale=scales[0] if pairs and scales else 1,
        key=getattr(args, "key", None),
    )
    try:
        prepare(family, sources, args.out, settings)
    except KeyboardInterrupt:
        print("\nbasicsr prepare: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _source(text: str, family: str) -> tuple[str, Path]:
    """Split `[LABEL=]PATH` into label and path."""
    label, equals, path = text.partition("=")
    labels = ["gt", "lq"] if family == "folder" else list(FAMILIES[family].outputs)
    labels += [] if family == "folder" else [collection.name for collection in FAMILIES[family].collections]
    if equals and label in labels:
        return label, Path(expand(path))
    text = expand(text)
    if equals and not Path(text).exists():
        raise InputError(f"--source {text}: {label!r} is not a label of {family}; choose one of {', '.join(labels)}")
    return "", Path(text)


def _prepare_photographs(args: argparse.Namespace, _: list[str]) -> int:
    from datasets_prep.photographs import prepare_photographs

    prepare_photographs(args.out / "photographs")
    print(f"{args.out / 'photographs'}: train and val, each with HR, LR_bicubic_X2 to X4, dark and rainy")
    return 0


def _prepare_check(args: argparse.Namespace, _: list[str]) -> int:
    from datasets_prep.checking import check

    problems = []
    for path in args.paths:
        for found in check(path, args.jobs):
            problems += found.problems
            print(found.summary, flush=True)
    if problems:
        raise InputError("\n".join(problems))
    return 0


def _prepare_list(args: argparse.Namespace, _: list[str]) -> int:
    from datasets_prep.listing import NOTE, descriptions

    texts = descriptions()
    for name in args.names:
        if name not in texts:
            near = difflib.get_close_matches(name, texts, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(texts)}"
            raise InputError(f"{name}: unknown family; {hint}")
    print("\n\n".join([texts[name] for name in args.names] or [*texts.values(), NOTE]))
    return 0
