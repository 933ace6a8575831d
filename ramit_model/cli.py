"""The `basicsr` command: one thin function a verb. Nothing heavy is imported before a verb needs it."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from ramit_model.commands.benchmark import add_benchmark
from ramit_model.commands.convert import add_convert
from ramit_model.commands.export import add_export
from ramit_model.commands.import_errors import explain
from ramit_model.commands.parser import EXIT_INPUT_ERROR, EXIT_INTERRUPTED, Parser, add_overrides, expanded, path_type
from ramit_model.commands.prepare import add_prepare
from ramit_model.commands.restore import add_restore
from ramit_model.commands.version import VersionAction
from ramit_model.system.environment import set_defaults, write_any_text
from ramit_model.system.errors import InputError
from ramit_model.system.processes import process_label
from ramit_model.system.surroundings import prepare_surroundings
from ramit_model.system.text import printable

EPILOG = """\
examples:
  basicsr restore photo.jpg --weights RAMiT-1_X2       restore pictures of your own: twice as large, less noise, ...
  basicsr demo                                         train a small RAMiT on embedded photographs, a few minutes
  basicsr train -opt options/train_RAMiT_x2.yml        train; add --auto_resume to go on after an interruption
  basicsr train -opt FILE --nproc 4                    the same on four GPUs (or four CPU processes)
  basicsr test -opt options/test_RAMiT_x2.yml          test weights: PSNR, SSIM, pictures
  basicsr benchmark -opt options/benchmark_x2.yml      measure networks side by side: quality, cost, speed, a report
  basicsr convert net_g_latest.pth -o mine.safetensors say what weights are, and write them as safetensors
  basicsr export --weights RAMiT-1_X2 -o out.onnx      take a network to other programs: ONNX, torch.export
  basicsr prepare list                                 data sets that can be prepared, and where to get them
  basicsr prepare DIV2K --source DIV2K_train_HR.zip --out datasets
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the `basicsr` command."""
    parser = Parser(
        prog="basicsr",
        description="Restore pictures; train, test and prepare data for image restoration with BasicSR.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=VersionAction)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)

    train = verbs.add_parser(
        "train",
        allow_abbrev=False,
        help="train a network from an option file",
        description="Train with BasicSR's own trainer. Checkpoints and logs go to ./experiments/NAME.",
        epilog="With --nproc, further arguments of torchrun (--nnodes, --node-rank, --rdzv-endpoint, --rdzv-id, "
        "--max-restarts, ...) are passed on. torchrun --no-python basicsr train ... works as well, and so does Slurm "
        "(srun basicsr train ... --launcher slurm).",
    )
    _add_pipeline_arguments(train)
    train.set_defaults(run=_pipeline)

    test = verbs.add_parser(
        "test",
        allow_abbrev=False,
        help="test a network from an option file",
        description="Test with BasicSR's own tester. Metrics and pictures go to ./results/NAME.",
    )
    _add_pipeline_arguments(test)
    test.set_defaults(run=_pipeline)

    demo = verbs.add_parser(
        "demo",
        allow_abbrev=False,
        help="train a small RAMiT on embedded photographs",
        description="Make LMDBs of scikit-image's photographs, test a small untrained RAMiT x2, train it for a few "
        "minutes, test it again, and draw LQ, result and GT side by side. An interrupted demo goes on where it was.",
    )
    demo.add_argument(
        "--out", default="demo", type=path_type, metavar="DIR", help="folder for everything (default: ./demo)"
    )
    demo.add_argument("--verbose", action="store_true", help="show everything that training and tests log")
    demo.set_defaults(run=_demo)

    add_benchmark(
        verbs.add_parser(
            "benchmark",
            allow_abbrev=False,
            help="measure networks side by side",
            description="Measure quality, cost, speed and memory of several networks on the same images and "
            "machine, and write a report: tables, plots, pictures, an HTML page. An interrupted benchmark goes on.",
        )
    )
    add_convert(
        verbs.add_parser(
            "convert",
            allow_abbrev=False,
            help="say what weights are, and write them as safetensors",
            description="Say which network, task and scale files of weights are of, and write them as safetensors with "
            "these facts in the header, or as .pth. Reads published files, those of BasicSR and of other programs, as "
            "data only.",
        )
    )
    add_restore(
        verbs.add_parser(
            "restore",
            allow_abbrev=False,
            help="restore pictures of your own",
            description="Restore pictures with published weights or your own: enlarge, denoise, derain, brighten.\n"
            "Results that are there already are skipped, so that the same command goes on after an interruption.",
        )
    )
    add_export(
        verbs.add_parser(
            "export",
            allow_abbrev=False,
            help="write a network as ONNX or as a package of torch.export",
            description="Write a network for other programs: images of any size and number in and out, RGB or gray, "
            "0 to 1, float32; padding and statistics inside. Every file is checked beside PyTorch before it appears.",
        )
    )
    add_prepare(verbs.add_parser("prepare", allow_abbrev=False, help="turn data sets that you downloaded into LMDBs"))
    return parser


def _add_pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's own arguments, and `--nproc`."""
    parser.add_argument("-opt", required=True, type=expanded, metavar="FILE", help="option file (YAML)")
    parser.add_argument("--auto_resume", action="store_true", help="go on from the newest checkpoint of this run")
    add_overrides(parser, "--force_yml", "replace single options, for example train:total_iter=1000")
    parser.add_argument("--debug", action="store_true", help="log, save and validate every few iterations")
    parser.add_argument("--verbose", action="store_true", help="show everything that the log file gets")
    parser.add_argument("--nproc", metavar="N", help="start N processes on this machine (a number, gpu or cpu)")
    parser.add_argument(
        "--launcher", choices=("none", "pytorch", "slurm"), help="who started the processes (found out for torchrun)"
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def _pipeline(args: argparse.Namespace, rest: list[str]) -> int:
    from ramit_model.commands import train_test as launch
    from ramit_model.commands.launcher import launcher_arguments, run_processes
    from ramit_model.config.option_file import find_option_file
    from ramit_model.config.options import load_options

    args.opt = find_option_file(args.opt)
    options = load_options(args.opt, is_train=args.verb == "train", forced=args.force_yml)
    passed_on = ["-opt", args.opt]
    passed_on += ["--auto_resume"] * args.auto_resume + ["--debug"] * args.debug + ["--verbose"] * args.verbose
    if args.nproc is not None:
        if args.launcher is not None:
            raise InputError("--nproc starts the processes itself: leave --launcher out")
        goes_on = args.auto_resume or args.verb == "test"
        torchrun = launcher_arguments(rest, str(options["name"]), goes_on=goes_on)
        forced = ["--force_yml", *args.force_yml] if args.force_yml else []
        return run_processes(args.verb, args.nproc, torchrun, passed_on + forced)
    launcher = args.launcher or ("pytorch" if launch.started_by_launcher() else "none")
    from ramit_model.basicsr_changes import Run  # imports torch: mistakes in the options are reported before
    from ramit_model.training.interruption import StoppedError

    try:
        launch.run_pipeline(args.verb, Run(options, args.opt, launcher, args.auto_resume, args.debug, args.verbose))
    except StoppedError as error:
        if launch.rank() == 0:
            print(f"basicsr train: {launch.describe_stop(error, options['name'])}", file=sys.stderr, flush=True)
        return 128 + error.number
    except KeyboardInterrupt:
        if launch.rank() == 0:
            print(f"\nbasicsr {args.verb}: interrupted{_how_to_go_on(args, options)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _how_to_go_on(args: argparse.Namespace, options: dict[str, object]) -> str:
    from ramit_model.training.checkpoint import training_states

    if args.verb == "test":
        return ""
    states = training_states(str(options["name"]))
    if not states:
        return " before the first checkpoint was saved"
    return f"; the last checkpoint is {states[0].name}: go on with the same command and --auto_resume"


def _demo(args: argparse.Namespace, _: list[str]) -> int:
    from ramit_model.commands.demo import run_demo

    return run_demo(args.out, verbose=args.verbose)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        Exit code: 0, 2 for bad input (one line on stderr), 130 after Ctrl-C.
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:
        print("\nbasicsr: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    set_defaults()
    write_any_text()
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if args.verb is None:
        parser.print_help()
        return 0
    if rest and getattr(args, "nproc", None) is None:
        parser.exit(
            EXIT_INPUT_ERROR, f"basicsr {args.verb}: unknown argument {rest[0]}; see basicsr {args.verb} --help\n"
        )
    try:
        prepare_surroundings()
        code: int = args.run(args, rest)
    except InputError as error:
        return _report(args.verb, error.line)
    except ImportError as error:
        if (line := explain(error)) is None:
            raise
        return _report(args.verb, line)
    except OSError as error:
        if error.errno == errno.EPIPE:  # who read the output has gone: basicsr prepare list | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_INTERRUPTED
        if error.errno not in _REMEDIES:
            raise
        return _report(args.verb, f"{error.filename or 'writing failed'}: {error.strerror}; {_REMEDIES[error.errno]}")
    except KeyboardInterrupt:
        print(f"\nbasicsr {args.verb}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room or change the folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable or change the folder"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n 4096), or take fewer processes"),
    **dict.fromkeys((errno.EFBIG, errno.EIO), "check the disk or change the folder"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR), "rename it or change the folder"),
}
"""Errors of reading and writing that are no mistakes of this program, and what to do about them."""


def _report(verb: str, message: str) -> int:
    for line in message.split("\n"):
        print(f"basicsr {verb}{process_label()}: {printable(line)}", file=sys.stderr)
    return EXIT_INPUT_ERROR
