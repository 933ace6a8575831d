"""Locks, also where file systems know none."""

import errno
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from ramit_model.system.locks import held


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("left by a run that was killed")
    with (
        held(FileLock(path, timeout=0)),
        pytest.raises(Timeout),
        held(FileLock(path, timeout=0, is_singleton=False)),
    ):
        pass
    with held(FileLock(path, timeout=0)):
        pass


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")])
def test_without_locks_it_goes_on(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = FileLock(tmp_path / "lock", timeout=0)

    def fail() -> None:
        raise error

    monkeypatch.setattr(lock, "acquire", fail)
    done = []
    with held(lock):
        done.append(1)
    assert done == [1]
    assert (
        capsys.readouterr().err == f"{tmp_path}: the file system knows no locks; see that nothing else writes there\n"
    )


def test_other_errors_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(tmp_path / "lock", timeout=0)

    def fail() -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(lock, "acquire", fail)
    with pytest.raises(OSError, match="Read-only"), held(lock):
        pass
