"""Fuzzes everything that reads files of strangers: it must return or raise the user's error of one line.

python tests/fuzz.py --minutes 60                # all targets, the time shared out evenly
python tests/fuzz.py --minutes 5 options pth     # some of them

A finding is another exception, a hang, memory beyond the target's bound, code that is run, or a file that is written
outside of the target's folder. Each is printed with the smallest input found; the exit code is 1 if there is any.
"""

import argparse
import faulthandler
import os
import random
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
# The folders of the tests are called like the packages.
sys.path[:] = [str(TESTS / "support"), *(path for path in sys.path if Path(path).resolve() != TESTS)]

import torch
from fuzz_targets import make_targets
from fuzzing import Outcome, fuzz


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
