"""Measures how a small training fares beside busy processes, with OpenMP's threads spinning and sleeping.

`python tests/measure_contention.py` prints a table: the time of a training step of the demo's network, for every number
of competitors and every policy, in rounds, so that each policy meets the same machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ramit_model.system.environment import DEFAULTS, WAITING

NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "demo": ({"scale": 2, "dim": 32, "depths": [2, 2, 2, 2], "neck_groups": 2}, (4, 3, 32, 32)),
    "RAMiT-1": ({"variant": "RAMiT-1", "scale": 2}, (2, 3, 64, 64)),
}
"""Options of a network, and the size of a batch of LQ patches."""
POLICIES = {
    "spinning (OpenMP's default)": {},
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE"},
    "as `basicsr` sets it": {name: DEFAULTS[name] for name in WAITING & DEFAULTS.keys()},
}
SETTINGS = {
    "demo": {},
    "demo, without compiled kernels": {"RAMIT_KERNELS": "0"},
    "demo, --nproc 2 with 1 thread each": {"OMP_NUM_THREADS": "1"},
    "RAMiT-1": {},
}
"""Network and what else is in the name -> environment."""
BUSY = "while True: pass"


def train(name: str, seconds: float) -> float:
    """Train one of the networks on random images for `seconds`; returns the median time of a step in seconds."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from ramit_arch import RAMiT

    torch.manual_seed(0)
    options, batch = NETWORKS[name]
    network: torch.nn.Module = RAMiT(**options)
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
        network = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    x, target = torch.rand(batch), torch.rand(*batch[:2], *(2 * size for size in batch[2:]))
    times: list[float] = []
    going_on = torch.ones(1)
    started = time.perf_counter()
    while going_on:
        before = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(network(x), target).backward()
        optimizer.step()
        times.append(time.perf_counter() - before)
        going_on[0] = float(time.perf_counter() - started < seconds or len(times) < 6)
        if "RANK" in os.environ:
            torch.distributed.broadcast(going_on, 0)  # all processes make the same number of steps
    return statistics.median(times[2:])


@contextmanager
def competitors(count: int) -> Iterator[None]:
    """Keep `count` processes busy meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(setting: str, policy: str, seconds: float) -> float:
    """Run a training in a process of its own, or two; returns the median time of a step in seconds."""
    variables = {*WAITING, "OMP_NUM_THREADS", "RAMIT_KERNELS"}
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    command = [__file__, "--train", setting.partition(",")[0], "--seconds", str(seconds)]
    if "--nproc" in setting:
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]
    done = subprocess.run(
        [sys.executable, *command],
        env={**environment, **SETTINGS[setting], **POLICIES[policy]},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[0])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds (default: 3)")
    parser.add_argument("--seconds", type=float, default=4, metavar="S", help="length of a training (default: 4)")
    parser.add_argument("--competitors", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--train", choices=NETWORKS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.train:
        median = train(args.train, args.seconds)
        if os.environ.get("RANK", "0") == "0":
            print(median)
        return
    times: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for number in range(args.rounds):
        for count in args.competitors:
            with competitors(count):
                for setting in args.settings:
                    for policy in list(POLICIES)[:: -1 if number % 2 else 1]:
                        times[setting, count, policy].append(measure(setting, policy, args.seconds))
    print(f"milliseconds of a training step, median (range) of {args.rounds} rounds; {os.cpu_count()} cores\n")
    print(f"| setting | busy processes beside it | {' | '.join(POLICIES)} |")
    print(f"| --- | --- |{' --- |' * len(POLICIES)}")
    for setting in args.settings:
        for count in args.competitors:
            cells = [_cell(times[setting, count, policy]) for policy in POLICIES]
            print(f"| {setting} | {count} | {' | '.join(cells)} |")


def _cell(seconds: list[float]) -> str:
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
