"""Locks of folders that one process at a time writes into."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of file systems, such as some network ones, that know no locks."""


class Lock(Protocol):
    """Lock of the package filelock."""

    @property
    def lock_file(self) -> str:
        """Path of its file."""

    def acquire(self) -> Any:
        """Take it, or raise an error."""

    def release(self) -> None:
        """Give it back."""


@contextmanager
def held(lock: Lock) -> Iterator[None]:
    """Hold a lock; where the file system knows none, go on without, and say so.

    Raises:
        OSError: It cannot be had.
    """
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        folder = Path(lock.lock_file).parent
        print(f"{folder}: the file system knows no locks; see that nothing else writes there", file=sys.stderr)
        yield
        return
    try:
        yield
    finally:
        lock.release()
