"""Disturbs commands at random moments; the same command again must end with what an undisturbed one gives.

python tests/crash_harness.py --count 200                   # all verbs, all kinds
python tests/crash_harness.py --count 20 --verbs prepare restore --seed 7

Disturbances: SIGKILL, SIGTERM, SIGINT (to the whole group, as Ctrl-C does), a full disk and a read-only one (a tmpfs of
its own, which needs `unshare -m`), files from which a command goes on that vanish or are damaged after a SIGKILL. After
each, no result may be there that is another than in the end (pictures, checkpoints and LMDBs are whole or not there),
and nothing but SIGKILL may leave a traceback. After one to four of them, the command is run undisturbed: it must
succeed, with the same names, pixels, entries, metrics and weights to the bit, nothing measured twice, and no
temporary file left over. `train2` is a training by two processes.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parent
# The folders of the tests are called like the packages.
sys.path[:] = [str(TESTS / "support"), *(path for path in sys.path if Path(path).resolve() != TESTS)]
os.environ["OMP_NUM_THREADS"] = "1"  # threads of a pool would be missing in forked processes

import disturbances
from crash_verbs import Outcome, Verb, make_verbs
from disturbances import KINDS, SIGNALS, Disk, Ended
from fork_server import import_everything

MOST_IN_A_ROW = 4
NAMESPACE = "CRASH_HARNESS_IN_A_NAMESPACE"
WEIGHT = {"train2": 0.1, "benchmark": 0.1, "prepare": 2}
"""Share of the disturbances of a verb whose runs take long, beside 1 of the others."""


@dataclass
class Trial:
    """A verb in a folder, disturbed several times."""

    name: str
    verb: Verb
    folder: Path
    reference: Outcome
    seconds: float
    rng: random.Random
    log: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    spoiled: set[str | None] = field(default_factory=set)
    is_finished: bool = False

    def disturb(self, kind: str, disk: Disk) -> bool:
        """Run the command under a disturbance; returns whether it was disturbed."""
        # What may vanish or be damaged is there later on.
        moment = self.rng.uniform(0.4 if kind in ("vanished", "damaged") else 0, 0.95) * self.seconds
        if kind == "full disk":
            free = int(self.rng.uniform(0, 1) * _size(self.folder.parent / f"{self.name} whole"))
            with disk.full(free):
                ended = self._run(None)
            self.log.append(f"full disk, {free} bytes free: {ended.code}")
            hit = ended.code != 0
        elif kind == "read-only":
            with disk.read_only():
                ended = self._run(None)
            self.log.append(f"read-only: {ended.code}")
            hit = ended.code != 0
        else:
            ended = self._run(disturbances.signalled(kind if kind in SIGNALS else "SIGKILL", moment))
            self.log.append(f"{kind} after {moment:.2f} s: {ended.code}")
            hit = ended.was_hit
        self.is_finished = ended.code == 0
        self._check_output(kind, ended)
        self._check_whole()
        if kind in ("vanished", "damaged") and hit:
            spoiled = disturbances.spoil(self.folder, self.verb.state, self.verb.least, kind, self.rng)
            self.log.append(f"{kind}: {spoiled}")
            hit = spoiled is not None
            self.spoiled.add(spoiled)
        return hit

    def finish(self) -> None:
        """Run the command undisturbed, and compare."""
        ended = self._run(None)
        if ended.code != 0:
            self._lost(f"the last command ended with {ended.code}", ended)
            return
        self._check_output("nothing", ended)
        self._check_whole()
        found = self.verb.outcome(self.folder)
        missing = sorted(self.reference.keys() - found.keys())
        differing = sorted(name for name in self.reference if found.get(name, "") != self.reference[name])
        for name in missing or differing:
            self._lost(f"{name} is {'missing' if missing else 'another'}", ended)
        for complaint in self.verb.by_hand(self.folder):
            self._lost(complaint, ended)
        left = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*.tmp")]
        left += [str(path.relative_to(self.folder)) for path in self.folder.rglob(".preparing*")]
        for name in left:
            self._lost(f"{name} is left over", ended)

    def _run(self, disturb: object) -> Ended:
        return disturbances.run(self.verb.arguments, self.folder, fresh=self.verb.fresh, disturb=disturb)

    def _check_output(self, kind: str, ended: Ended) -> None:
        if "Traceback" in ended.output:
            self._lost("traceback", ended)
        if ended.code == -999:
            self._lost(f"no end in {disturbances.PATIENCE} s", ended)
        if kind in ("full disk", "read-only") and ended.code not in (0, 2):
            self._lost(f"exit code {ended.code}", ended)

    def _check_whole(self) -> None:
        for name, checksum in self.verb.outcome(self.folder).items():
            is_whole = checksum == self.reference.get(name, checksum) or name in self.verb.changing
            if name not in self.spoiled and not is_whole:
                self._lost(f"{name} is not what it is in the end ({checksum[:100]})", None)
            if self.verb.written_once:
                when = (self.folder / name).stat().st_mtime_ns
                if self.written.setdefault(name, when) != when:
                    self._lost(f"{name} was written twice", None)

    def _lost(self, what: str, ended: Ended | None) -> None:
        tail = "\n      ".join(ended.output.strip().splitlines()[-12:]) if ended else ""
        self.losses.append(f"{self.name}: {what}; {'; '.join(self.log)}\n      {tail}")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(args: argparse.Namespace, base: Path) -> int:
    """Disturb commands, and print the table."""
    (base / "in").mkdir()
    verbs = make_verbs(base / "in")
    disk = Disk(base / "disk")
    kinds = KINDS if disk.is_own else tuple(kind for kind in KINDS if kind not in ("full disk", "read-only"))
    if not disk.is_own:
        print("mounting is not permitted: no full and no read-only disk", flush=True)
    rng = random.Random(args.seed)
    counts, lost, losses = Counter[tuple[str, str]](), Counter[str](), []
    references: dict[str, tuple[Outcome, float]] = {}
    try:
        for name in args.verbs:
            folder = disk.path / f"{name} whole"
            folder.mkdir()
            done = disturbances.run(verbs[name].arguments, folder, fresh=verbs[name].fresh, disturb=None)
            if done.code != 0:
                print(f"{name}: undisturbed, it ended with {done.code}\n{done.output}")
                return 1
            references[name] = verbs[name].outcome(folder), done.seconds
            print(f"{name}: undisturbed {done.seconds:.1f} s, {len(references[name][0])} results", flush=True)
        started = time.monotonic()
        while counts.total() < args.count and time.monotonic() < started + 60 * args.minutes:
            name = rng.choices(args.verbs, [WEIGHT.get(name, 1.0) for name in args.verbs])[0]
            folder = disk.path / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            trial = Trial(name, verbs[name], folder, *references[name], rng)
            for _ in range(rng.randint(1, MOST_IN_A_ROW)):
                kind = rng.choice(kinds)
                counts[name, kind] += trial.disturb(kind, disk)
                if trial.is_finished:
                    break
            trial.finish()
            lost[name] += len(trial.losses)
            losses += trial.losses
            print(f"{counts.total():4} {name}: {'; '.join(trial.log)}{'; LOST' if trial.losses else ''}", flush=True)
            for loss in trial.losses:
                print(f"  LOST {loss}", flush=True)
    finally:
        disk.close()
    print(f"\nseed {args.seed}\n{'':10}" + "".join(f"{kind:>11}" for kind in kinds) + f"{'all':>7}{'losses':>8}")
    for name in args.verbs:
        row = [counts[name, kind] for kind in kinds]
        print(f"{name:10}" + "".join(f"{count:11}" for count in row) + f"{sum(row):7}{lost[name]:8}")
    row = [sum(counts[name, kind] for name in args.verbs) for kind in kinds]
    print(f"{'all':10}" + "".join(f"{count:11}" for count in row) + f"{sum(row):7}{len(losses):8}")
    return int(bool(losses))


def run() -> int:
    verbs = ("train", "train2", "test", "benchmark", "prepare", "restore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="disturbances (default: 200)")
    parser.add_argument("--minutes", type=float, default=10**6, help="begin no more after so long (default: no limit)")
    parser.add_argument("--verbs", nargs="+", choices=verbs, default=list(verbs))
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: another one in each call")
    args = parser.parse_args()
    if NAMESPACE not in os.environ and shutil.which("unshare") and os.geteuid() == 0:
        # Mounts of a namespace of one's own vanish with it. The harness itself must not start threads before it forks.
        os.environ[NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, __file__, *sys.argv[1:]])
    import_everything()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        return measure(args, Path(base))


if __name__ == "__main__":
    sys.exit(run())
