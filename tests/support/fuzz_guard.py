"""Watches a function while it reads hostile input: it may return or raise the user's error, and nothing else."""

import functools
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 10
"""Processor time after which a run counts as a hang."""

MEBIBYTE = 2**20

CODE = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn", "subprocess.Popen"),
    *("socket.connect", "socket.getaddrinfo", "pickle.find_class"),
)
"""Audit events that no reader of data has a reason for."""

WRITES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OURS = ("ramit_model", "ramit_arch", "datasets_prep")


HARMLESS = (os.devnull, "__pycache__", "torchinductor")
"""Parts of the paths that Python and PyTorch write to by themselves."""


class Finding(Exception):  # noqa: N818  it is what the guard looks for
    """A run that did something else.

    Args:
        kind: Short name, by which findings are told apart.
        detail: More about it, for the report.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}\n{detail}" if detail else kind)
        self.kind = kind
        self.is_slow = kind.startswith(("hang", "memory"))


class _Hang(BaseException):
    """Raised by the timer, past every `except Exception`."""


_watch: dict[str, Any] | None = None


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _watch is None:
        return
    if event in CODE:
        _watch["forbidden"].append(f"{event} {args!r:.200}")
    elif event == "open":
        path, mode, flags = args
        writes = (isinstance(flags, int) and flags & WRITING) or (isinstance(mode, str) and set(mode) & set("wax+"))
        if writes and isinstance(path, str | bytes):
            _note_write(event, path)
    elif event in WRITES:
        folders = [arg for arg in args[1 + (event == "os.mkdir") :] if isinstance(arg, int) and arg >= 0]
        for path in args[:2]:
            if isinstance(path, str | bytes | os.PathLike):
                # shutil.rmtree names files relative to open folders.
                folder = Path(f"/proc/self/fd/{folders[0]}").readlink() if folders else Path.cwd()
                _note_write(event, folder / os.fsdecode(path))


def _note_write(event: str, path: str | bytes | os.PathLike[Any]) -> None:
    name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  links stay
    if _watch is not None and not name.startswith(_watch["folder"]) and not any(part in name for part in HARMLESS):
        _watch["forbidden"].append(f"{event} outside: {name!r}")


@functools.cache
def install() -> None:
    """Install the audit hook, once: it cannot be removed, and does nothing outside of `watched`."""
    sys.addaudithook(_audit)


def trip(*_: Any, **__: Any) -> str:
    """Bait for pickles: notes that it was called."""
    if _watch is not None:
        _watch["forbidden"].append("a pickle called a function")
    return ""


def peak_memory() -> int:
    """Peak of this process's resident memory since `reset_peak`, bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Let the peak begin at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def watched(folder: Path, errors: tuple[type[BaseException], ...], most: int, *, lines: bool) -> Iterator[None]:
    """Run the body; anything but returning or an error for the user is a `Finding`.

    Args:
        folder: Folder below which the body may write.
        errors: Errors for the user.
        most: Bytes that resident memory may grow by.
        lines: Whether an error may have several lines, one for each mistake.

    Raises:
        Finding: It did something else.
    """
    global _watch  # noqa: PLW0603  the hook knows no more
    install()

    def hang(_: int, frame: FrameType | None) -> None:
        raise _Hang

    before_handler = signal.signal(signal.SIGVTALRM, hang)
    reset_peak()
    before = peak_memory()
    _watch = watch = {"folder": str(folder.absolute()), "forbidden": []}
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    except errors as error:
        _check_message(str(error), lines=lines)
    except Finding:
        raise
    except _Hang as error:
        raise Finding(f"hang in {_place(error)}") from None
    except Exception as error:
        raise Finding(f"{type(error).__name__} in {_place(error)}", _stack(error)) from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        _watch = None
        signal.signal(signal.SIGVTALRM, before_handler)
    if watch["forbidden"]:
        raise Finding("forbidden: " + watch["forbidden"][0].split(" ")[0], "\n".join(watch["forbidden"]))
    grown = peak_memory() - before
    if grown > most:
        raise Finding("memory", f"{grown // MEBIBYTE} MiB, more than {most // MEBIBYTE}")


def _check_message(message: str, *, lines: bool) -> None:
    parts = message.split("\n")
    if "Traceback" in message or not all(part.strip() for part in parts) or (len(parts) > 1 and not lines):
        raise Finding("a message that is not one line", repr(message))


def _place(error: BaseException) -> str:
    """File and function of the innermost frame of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(f"/{name}/" in frame.filename for name in OURS)]
    frame = (ours or [frame for frame in frames if frame.filename != __file__] or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.name}"


def _stack(error: BaseException) -> str:
    """Innermost frames of ours, and the error, for the report."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in frames
        if any(f"/{n}/" in frame.filename for n in OURS)
    ]
    return "\n".join([*ours[-4:], f"{type(error).__name__}: {error!s:.300}"])
