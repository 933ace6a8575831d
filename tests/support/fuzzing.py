"""Fuzzing of one target with hypothesis: counts the runs and keeps the smallest input of each kind of finding."""

import itertools
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_guard import Finding, watched
from fuzz_targets import Target
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
