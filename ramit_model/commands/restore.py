"""`basicsr restore`: a thin shell over `ramit_model.inference.restorer` and the packages beside it."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ramit_model.commands.parser import EXIT_INPUT_ERROR, EXIT_INTERRUPTED, at_least, expanded
from ramit_model.commands.restore_progress import ProgressReport
from ramit_model.inference.batch.jobs import DEFAULT_OUT, Job, comparison_folder, list_jobs, names_file
from ramit_model.inference.batch.made_with import check_made_with, made_with, note_made_with
from ramit_model.inference.pictures.formats import FORMATS, format_of
from ramit_model.inference.precision import PRECISIONS
from ramit_model.system.errors import InputError
from ramit_model.system.image_names import left_out
from ramit_model.system.processes import share_of_this_process
from ramit_model.system.text import printable

if TYPE_CHECKING:
    from ramit_model.inference.compare import Comparisons
    from ramit_model.inference.restorer import Restorer

EPILOG = """\
examples:
  basicsr restore photo.jpg --weights RAMiT-1_X2               twice as large, into restored/photo.jpg
  basicsr restore photos -o sharp --weights RAMiT-1_X2.pth     a whole folder; the same command goes on if interrupted
  basicsr restore 'scans/**/*.tif' --weights RAMiT-1_CDN --format png --compare
  basicsr restore - --weights RAMiT-1_X2 < in.png > out.png

Reads PNG, JPEG, WebP, TIFF, BMP, GIF (no animations), PPM, and AVIF with Pillow 11.3 or later; keeps 16 bits, floats,
transparency, EXIF, XMP, ICC profile and resolution. Pictures are turned as EXIF says. The exit code is 0 if every
picture has been restored, 2 if not.
"""


def add_restore(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `basicsr restore` its arguments."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "inputs", nargs="+", type=expanded, metavar="INPUT", help="pictures, folders, patterns, or - (stdin)"
    )
    parser.add_argument(
        "--weights",
        required=True,
        type=expanded,
        metavar="FILE|NAME",
        help="file of weights, or a published name such as RAMiT-1_X2",
    )
    parser.add_argument(
        "-o", "--out", type=expanded, metavar="DIR|FILE", help=f"where results go (default: ./{DEFAULT_OUT})"
    )
    parser.add_argument("--task", metavar="TASK", help="SR, CDN, GDN, LLE or DR, if the weights do not tell it")
    form = parser.add_argument_group("output")
    form.add_argument(
        "--format", choices=("same", *FORMATS), default="same", help="format of the results (default: same as input)"
    )
    form.add_argument(
        "--quality",
        type=_quality,
        metavar="1-100",
        help="of JPEG and WebP (default: 95; WebP: 100 is lossless)",
    )
    form.add_argument("--strip", action="store_true", help="drop EXIF, XMP and other metadata, but the ICC profile")
    form.add_argument("--overwrite", action="store_true", help="restore again what is there already")
    form.add_argument(
        "--compare",
        action="store_true",
        help="also write before/after strips and a page with sliders (OUT_compare)",
    )
    run = parser.add_argument_group("computation")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    run.add_argument(
        "--tile",
        type=_tile,
        default="auto",
        metavar="auto|N|none",
        help="tiles of N input pixels (default: auto, the whole picture as long as it fits the memory)",
    )
    run.add_argument("--precision", choices=PRECISIONS, default="float32", help="default: float32")
    run.add_argument(
        "--self-ensemble", action="store_true", help="average over flips and turns: slightly better, 8 times as slow"
    )
    parser.set_defaults(run=_run)


def _quality(text: str) -> int:
    value = at_least(1)(text)
    if value > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return value


def _tile(text: str) -> int | str | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    return at_least(1)(text)


def _run(args: argparse.Namespace, _: list[str]) -> int:
    if "-" in (*args.inputs, args.out):
        return _pipe(args)
    rank, processes = share_of_this_process()
    others: list[str] = []
    jobs = list_jobs(args.inputs, args.out, args.format, left_out=others)[rank::processes]
    for remark in left_out(others) if rank == 0 else ():
        print(f"basicsr restore: {remark}", file=sys.stderr)
    skipped = [] if args.overwrite else [job for job in jobs if job.output.is_file()]
    there = set(skipped)
    waiting = [job for job in jobs if job not in there]
    folder = _folder(args.out)
    made = made_with(args.weights, args.task, args.self_ensemble) if folder else None
    if folder and made:
        check_made_with(folder, skipped, made)
    report = ProgressReport(len(waiting), skipped=len(skipped), where=_place(args.out, jobs))
    if not waiting and not args.compare:
        report.finish()
        return 0
    from ramit_model.inference.batch.run import Settings, compare_files, restore_files
    from ramit_model.system.memory import keep_freed_memory

    keep_freed_memory()
    comparisons = _comparisons(args, rank) if args.compare else None
    compared = comparisons.adder(jobs) if comparisons else None
    written = partial(note_made_with, folder, now=made) if folder and made else None
    settings = Settings(args.quality, args.strip, compared=compared, written=written)
    try:
        with report:
            if waiting:
                restore_files(waiting, _restorer(args), settings, report)
            if comparisons:
                compare_files(skipped, comparisons.adder(jobs), report)
                comparisons.write_page()
    except KeyboardInterrupt:
        print(
            f"\nbasicsr restore: interrupted after {report.done} of {len(waiting)}; the same command goes on there",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    report.finish()
    if comparisons and comparisons.page.is_file():
        print(f"before and after: {printable(comparisons.page)}")
    return EXIT_INPUT_ERROR if report.failures else 0


def _pipe(args: argparse.Namespace) -> int:
    """Restore one picture from stdin, or to stdout, or both."""
    if len(args.inputs) > 1 or args.compare:
        raise InputError("-: stands for one picture alone, without --compare; leave the rest out")
    source, to_stdout = args.inputs[0], args.out in (None, "-")
    name = "stdin" if source == "-" else printable(source)
    if to_stdout and sys.stdout.isatty():
        raise InputError("the picture would go to the terminal; add > FILE, or -o FILE")
    content = sys.stdin.buffer.read() if source == "-" else list_jobs([source], None)[0].source.read_bytes()
    if to_stdout:
        target = None
    elif names_file(Path(args.out)):
        target = Path(args.out)
    else:
        raise InputError(f"-o {printable(args.out)}: give a file such as out.png for the picture from stdin")
    from ramit_model.inference.batch.run import Settings, reason, restore_content
    from ramit_model.system.files import write_atomically

    kind = args.format if target is None else format_of(target)
    try:
        settings = Settings(quality=args.quality, strip=args.strip)
        parts, notes = restore_content(content, _restorer(args), kind, settings)
    except Exception as error:
        raise InputError(f"{name}: {reason(error)}") from error
    for note in notes:
        print(f"basicsr restore: {name}: {note}", file=sys.stderr)
    if target is None:
        sys.stdout.buffer.writelines(parts)
        sys.stdout.buffer.flush()
    else:
        write_atomically(parts, target)
    return 0


def _comparisons(args: argparse.Namespace, rank: int) -> "Comparisons":
    from ramit_model.inference.compare import Comparisons

    name = f"compare-{rank}.html" if rank else "compare.html"
    return Comparisons(comparison_folder(args.out), f"Restored with {Path(args.weights).name}", name)


def _restorer(args: argparse.Namespace) -> "Restorer":
    from ramit_model.inference.restorer import Restorer

    return Restorer(
        args.weights,
        task=args.task,
        device=args.device,
        precision=args.precision,
        tile=args.tile,
        self_ensemble=args.self_ensemble,
    )


def _folder(out: str | None) -> Path | None:
    """Folder of the results; None where the user names the file."""
    target = DEFAULT_OUT if out is None else Path(out)
    return None if names_file(target) else target


def _place(out: str | None, jobs: Sequence[Job]) -> Path:
    target = DEFAULT_OUT if out is None else Path(out)
    return jobs[0].output if len(jobs) == 1 else target
