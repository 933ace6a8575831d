"""Fuzzes everything that reads files of strangers: it must return or raise the user's error of one line.

python tests/fuzz.py --minutes 60                # all targets, the time shared out evenly
python tests/fuzz.py --minutes 5 options pth     # some of them

A finding is another exception, a hang, memory beyond the target's bound, code that is run, or a file that is written
outside of the target's folder. Each is printed with the smallest input found; the exit code is 1 if there is any.
"""

import argparse
import faulthandler
import itertools
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

import torch
from fuzz_guard import Finding, watched
from fuzz_targets import Target, make_targets
from hypothesis import HealthCheck, Phase, given, seed, settings

BATCH = 200
"""Inputs of a call of hypothesis; its seed changes from call to call."""


@dataclass
class Outcome:
    """Count of runs, and for each kind of finding its smallest input and its details."""

    runs: int = 0
    findings: dict[str, tuple[Any, str]] = field(default_factory=dict)


def try_one(target: Target, given_input: Any) -> None:
    """Read one input in a folder of its own.

    Raises:
        Finding: The reader did something else than it may.
    """
    with tempfile.TemporaryDirectory() as folder, watched(Path(folder), target.errors, target.most, lines=target.lines):
        target.run(given_input, Path(folder))


def fuzz(target: Target, *, examples: int = BATCH, first_seed: int = 0, until: float = 0) -> Outcome:
    """Fuzz a target: `examples` inputs, then as many again until the time `until` (`time.monotonic`)."""
    outcome = Outcome()

    def one(given_input: Any) -> None:
        if until and time.monotonic() > until:
            return
        outcome.runs += 1
        try:
            try_one(target, given_input)
        except Finding as finding:
            if finding.kind not in known:
                found[finding.kind] = (given_input, str(finding))
                if not finding.is_slow:  # shrinking tries it again and again
                    raise

    for number in itertools.count(first_seed):
        known, found = set(outcome.findings), {}
        test = given(target.inputs)(one)
        test = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )(test)
        try:
            seed(number)(test)()
        except Exception:
            # Shrinking keeps the smallest one as the last; hypothesis itself complains of what comes and goes.
            if not found:
                raise
        outcome.findings |= found
        if time.monotonic() >= until:
            return outcome
    raise AssertionError


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--minutes", type=float, default=60, help="for all targets together (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="default: another one in each call")
    args = parser.parse_args()
    torch.set_num_threads(1)
    first_seed = random.randrange(2**31) if args.seed is None else args.seed
    total = Outcome()
    # Image libraries write what they think of a file to the stream itself.
    log = sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    faulthandler.enable(log)
    with tempfile.TemporaryDirectory() as base:
        targets = make_targets(Path(base))
        unknown = set(args.targets) - targets.keys()
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(targets)}")
        names = args.targets or list(targets)
        share = 60 * args.minutes / len(names)
        print(f"seed {first_seed}, {share:.0f} s each\n{'target':20} {'runs':>8} {'findings':>8}", flush=True)
        for name in names:
            # A hang inside of a library: its stack, and the end.
            faulthandler.dump_traceback_later(share + 300, exit=True, file=log)
            outcome = fuzz(targets[name], first_seed=first_seed, until=time.monotonic() + share)
            print(f"{name:20} {outcome.runs:8} {len(outcome.findings):8}", flush=True)
            for kind, (given_input, detail) in outcome.findings.items():
                print(f"  {kind}\n    input: {given_input!r:.3000}\n    " + detail.replace("\n", "\n    "), flush=True)
            total.runs += outcome.runs
            total.findings |= {f"{name}: {kind}": found for kind, found in outcome.findings.items()}
        faulthandler.cancel_dump_traceback_later()
    print(f"{'all':20} {total.runs:8} {len(total.findings):8}")
    return int(bool(total.findings))


if __name__ == "__main__":
    sys.exit(run())
