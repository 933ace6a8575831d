"""Steps overlap, errors stay with their job, memory stays bounded, and nothing hangs."""

import threading
import time
from collections.abc import Callable

import pytest

from ramit_model.inference.batch.pipeline import Budget, Overlapped, StoppedError


def test_all_jobs_are_done_and_errors_stay_with_their_job() -> None:
    def read(job: int, reserve: Callable[[int], None]) -> int:
        reserve(job)
        if job % 5 == 0:
            raise ValueError(f"read {job}")
        return job

    def process(job: int, value: int) -> int:
        if job % 5 == 1:
            raise ValueError(f"process {job}")
        return value * 10

    def write(job: int, value: int) -> int:
        if job % 5 == 2:
            raise ValueError(f"write {job}")
        return value + 1

    results = dict(Overlapped(read, process, write, threads=3, limit=10).run(range(40)))
    assert sorted(results) == list(range(40))
    for job, result in results.items():
        step = {0: "read", 1: "process", 2: "write"}.get(job % 5)
        assert str(result) == (f"{step} {job}" if step else str(job * 10 + 1))


def test_steps_overlap() -> None:
    barrier = threading.Barrier(3, timeout=20)  # passed only if all three steps run at a time

    def read(job: int, _: Callable[[int], None]) -> int:
        if job == 12:
            barrier.wait()
        return job

    def process(job: int, value: int) -> int:
        if job == 11:
            barrier.wait()
        return value

    def write(job: int, value: int) -> int:
        if job == 10:
            barrier.wait()
        return value

    assert len(list(Overlapped(read, process, write, threads=1, limit=10).run(range(20)))) == 20


def test_memory_is_bounded_but_a_large_job_goes_on_alone() -> None:
    held, most = 0, 0
    lock = threading.Lock()

    def read(job: int, reserve: Callable[[int], None]) -> int:
        nonlocal held, most
        size = 1000 if job == 3 else 4
        reserve(size)
        with lock:
            held += size
            most = max(most, held if held < 1000 else 0)
            assert held <= 10 or held == 1000
        return size

    def write(_: int, size: int) -> None:
        nonlocal held
        time.sleep(0.001)
        with lock:
            held -= size

    for _, error in Overlapped(read, lambda _, size: size, write, threads=3, limit=10).run(range(30)):
        assert error is None
    assert 4 <= most <= 10


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    work = Overlapped(lambda job, _: job, lambda _, value: value, lambda _, value: value, threads=2, limit=10)
    running = work.run(range(1000))
    next(running)
    running.close()
    assert threading.active_count() == before


def test_a_stopped_budget_wakes_those_that_wait() -> None:
    budget = Budget(1)
    budget.take(1)
    threading.Timer(0.05, budget.stop).start()
    with pytest.raises(StoppedError):
        budget.take(1)
