"""Disturbances of a running command: signals, a disk that is full or read-only, files that vanish or are damaged."""

import ctypes
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
KINDS = (*SIGNALS, "full disk", "read-only", "vanished", "damaged")

DISK = "64m"
PATIENCE = 400
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended: exit code (negative for a signal), what it printed, and how long it took."""

    code: int
    output: str
    seconds: float
    was_hit: bool = True


class Disk:
    """A disk of its own for the results, of a few MB, where mounting is permitted; else an ordinary folder.

    Args:
        path: Folder to mount it at.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)]
        done = subprocess.run(mount, check=False, capture_output=True)
        self.is_own = done.returncode == 0

    @contextmanager
    def full(self, free: int) -> Iterator[None]:
        """Leave only so many bytes."""
        if not self.is_own:
            raise RuntimeError("mounting is not permitted")
        filler = self.path / "filler"
        with filler.open("wb") as file:
            space = os.statvfs(self.path)
            os.posix_fallocate(file.fileno(), 0, max(4096, space.f_bavail * space.f_frsize - free))
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuse every writing."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, how: str) -> None:
        command = ["mount", "-o", f"remount,{how}", str(self.path)]
        end = time.monotonic() + 30
        # It is busy while a process of a killed group, which ends by itself, has a file open.
        while subprocess.run(command, check=False, capture_output=True).returncode:
            if time.monotonic() > end:
                raise RuntimeError(f"{' '.join(command)}: a process does not end")
            time.sleep(0.2)

    def close(self) -> None:
        """Unmount it."""
        if self.is_own:
            subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)


def run(
    arguments: tuple[str, ...], folder: Path, *, fresh: bool, disturb: Callable[[int, Callable[[], bool]], bool] | None
) -> Ended:
    """Run `basicsr ARGUMENTS` in `folder`, in a group of processes of its own.

    Args:
        arguments: Arguments.
        folder: Current folder of the command.
        fresh: Start Python anew; otherwise fork this process, which has imported everything already.
        disturb: Called with the number of the process and a function that says whether it still runs; returns whether
            it was hit.
    """
    log = folder.parents[1] / f"{folder.name}.log"  # not on the disk that is full
    started = time.monotonic()
    process = os.fork()
    if process == 0:
        _become(arguments, folder, log, fresh=fresh)
    ended: list[int] = []

    def runs() -> bool:
        if not ended:
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                ended.append(os.waitstatus_to_exitcode(status))
        return not ended

    was_hit = disturb(process, runs) if disturb else False
    while runs():
        if time.monotonic() > started + PATIENCE:
            os.killpg(process, signal.SIGKILL)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
            return Ended(-999, log.read_text(errors="replace"), PATIENCE)
        time.sleep(0.01)
    seconds = time.monotonic() - started
    _end_of_group(process)
    return Ended(ended[0], log.read_text(errors="replace"), seconds, was_hit)


def _become(arguments: tuple[str, ...], folder: Path, log: Path, *, fresh: bool) -> None:
    """Turn a forked process into the command; does not return."""
    code = 70
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # end with the harness
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if fresh:
            os.execv(sys.executable, [sys.executable, "-m", "ramit_model", *arguments])
        sys.argv[1:] = arguments
        runpy.run_module("ramit_model", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _end_of_group(group: int) -> None:
    """Wait until no process of the group is left; those of a killed command end by themselves."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except OSError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)


def signalled(kind: str, moment: float) -> Callable[[int, Callable[[], bool]], bool]:
    """Disturbance that sends a signal after `moment` seconds: Ctrl-C to the whole group, the others to the command."""

    def disturb(process: int, runs: Callable[[], bool]) -> bool:
        end = time.monotonic() + moment
        while time.monotonic() < end:
            if not runs():
                return False
            time.sleep(0.002)
        if not runs():
            return False
        (os.killpg if kind == "SIGINT" else os.kill)(process, SIGNALS[kind])
        return True

    return disturb


def spoil(folder: Path, patterns: tuple[str, ...], least: int, kind: str, rng: random.Random) -> str | None:
    """Remove or damage one of the newest files from which a command goes on, if there are so many; its name."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if len(found) < least:
        return None
    path = rng.choice(sorted(found, key=lambda path: path.stat().st_mtime_ns)[-2:])
    if kind == "vanished":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        if rng.random() < 0.5:
            del content[rng.randrange(len(content) + 1) :]
        else:
            for _ in range(8):
                if content:
                    content[rng.randrange(len(content))] ^= 0xFF
        path.write_bytes(content)
    return path.relative_to(folder).as_posix()


def empty(folder: Path) -> None:
    """Remove all that is in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
