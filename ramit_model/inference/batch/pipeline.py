"""Reading, network and writing at the same time, with a bound on what is in memory."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Read = TypeVar("Read")
Processed = TypeVar("Processed")
Written = TypeVar("Written")

AHEAD = 2
"""Jobs for each thread that are being read or wait for the network."""


class StoppedError(Exception):
    """The work was stopped while a thread waited for memory."""


class Budget:
    """Bytes that the jobs in work may hold together; one job alone may always go on, however large.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._stopped = limit, 0, False
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Wait until so many bytes are free, and take them.

        Raises:
            StoppedError: `stop` was called.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._used or self._used + count <= self._limit)
            if self._stopped:
                raise StoppedError
            self._used += count

    def give_back(self, count: int) -> None:
        """Release bytes that were taken."""
        with self._changed:
            self._used -= count
            self._changed.notify_all()

    def stop(self) -> None:
        """Let all that wait fail."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class Overlapped(Generic[Job, Read, Processed, Written]):
    """Three steps for each job: read and write in threads, the network between them in the thread that iterates.

    Args:
        read: First step; gets a function that it calls once, with the bytes that the job will hold, before it decodes.
        process: Second step.
        write: Third step.
        threads: Threads that read, and as many that write.
        limit: Bytes that jobs between the beginning of decoding and the end of writing may hold together.
    """

    def __init__(
        self,
        read: Callable[[Job, Callable[[int], None]], Read],
        process: Callable[[Job, Read], Processed],
        write: Callable[[Job, Processed], Written],
        *,
        threads: int,
        limit: int,
    ) -> None:
        self._steps = read, process, write
        self._threads = threads
        self._budget = Budget(limit)
        self._held: dict[int, int] = {}

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Written | Exception]]:
        """Do all jobs.

        Yields:
            Each job, in the order of completion, with the result of writing or the error of any of its steps.
        """
        read, process, write = self._steps
        coming = iter(enumerate(jobs))
        reading: dict[Future[Read], tuple[int, Job]] = {}
        writing: dict[Future[Written], tuple[int, Job]] = {}
        readers = ThreadPoolExecutor(self._threads, "read")
        writers = ThreadPoolExecutor(self._threads, "write")

        def fill() -> None:
            while len(reading) < self._threads * AHEAD:
                item = next(coming, None)
                if item is None:
                    return
                reading[readers.submit(self._read, read, *item)] = item

        try:
            fill()
            while reading or writing:
                futures: list[Future[Any]] = [*reading, *writing]
                wait(futures, return_when=FIRST_COMPLETED)
                for future in [future for future in writing if future.done()]:
                    yield self._finished(future, *writing.pop(future))
                ready = next((future for future in reading if future.done()), None)
                if ready is None:
                    continue
                number, job = reading.pop(ready)
                fill()
                try:
                    result = process(job, ready.result())
                except Exception as error:
                    self._release(number)
                    yield job, error
                    continue
                finally:
                    del ready
                # Results that wait to be written are bounded by their number, too.
                while len(writing) >= self._threads * AHEAD:
                    wait(writing, return_when=FIRST_COMPLETED)
                    for future in [future for future in writing if future.done()]:
                        yield self._finished(future, *writing.pop(future))
                writing[writers.submit(write, job, result)] = number, job
                del result
        finally:
            self._budget.stop()
            for pool in (readers, writers):
                pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, read: Callable[[Job, Callable[[int], None]], Read], number: int, job: Job) -> Read:
        def reserve(count: int) -> None:
            self._budget.take(count)
            self._held[number] = self._held.get(number, 0) + count

        return read(job, reserve)

    def _finished(self, future: Future[Written], number: int, job: Job) -> tuple[Job, Written | Exception]:
        self._release(number)
        error: Any = future.exception()
        if error is None:
            return job, future.result()
        if not isinstance(error, Exception):
            raise error
        return job, error

    def _release(self, number: int) -> None:
        self._budget.give_back(self._held.pop(number, 0))
