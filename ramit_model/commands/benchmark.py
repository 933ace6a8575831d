"""`basicsr benchmark`."""

import argparse
import sys
from pathlib import Path

from ramit_model.commands.parser import EXIT_INTERRUPTED, add_overrides, at_least, expanded, path_type


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `basicsr benchmark` its arguments."""
    parser.add_argument("-opt", required=True, type=expanded, metavar="FILE", help="option file of a benchmark (YAML)")
    parser.add_argument("--out", type=path_type, metavar="DIR", help="folder for everything (default: benchmarks/NAME)")
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="networks, data sets, quality or cost: leave out the others of the kinds that are named",
    )
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="measure the first N images of each data set")
    parser.add_argument(
        "--incomplete", action="store_true", help="do without the weights and data sets that are not there"
    )
    example = "cost:runs=21, or leave out a network with networks:NAME=none"
    add_overrides(parser, "--force_yml", f"replace single options, for example {example}")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, _: list[str]) -> int:
    from ramit_model.benchmark.plan import load_plan
    from ramit_model.config.option_file import find_option_file

    plan = load_plan(
        find_option_file(args.opt), forced=args.force_yml, only=args.only, limit=args.limit, incomplete=args.incomplete
    )
    for line in plan.missing:
        print(f"basicsr benchmark: {line}; going on without", file=sys.stderr)
    from ramit_model.benchmark.report.renderings import terminal_report
    from ramit_model.benchmark.run import run_benchmark

    out = args.out or Path("benchmarks") / plan.name
    try:
        results = run_benchmark(plan, out)
    except KeyboardInterrupt:
        print("\nbasicsr benchmark: interrupted; the same command goes on where it was", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(terminal_report(results))
    print(f"The whole report: {out / 'report.html'}")
    return 0
