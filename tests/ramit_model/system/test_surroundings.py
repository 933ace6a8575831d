"""Notebooks, containers and clusters are made to fit, or explained in one line."""

import getpass
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import changed, training_options

from ramit_model.cli import main
from ramit_model.config.options import load_options
from ramit_model.system import surroundings
from ramit_model.system.errors import InputError
from ramit_model.system.surroundings import check_shared_memory, prepare_surroundings


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        prepare_surroundings()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_temporary_folder_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert main(["prepare", "list", "Set5"]) == 2
    assert capsys.readouterr().err.startswith("basicsr prepare: no folder for temporary files can be written")


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    import pwd

    def unknown(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with monkeypatch.context() as patch:
        patch.setenv("LOGNAME", "")
        prepare_surroundings()
        assert getpass.getuser() == f"user{os.getuid()}"


@pytest.mark.parametrize(("workers", "free", "fits"), [(2, 4_999, False), (2, 5_000, True), (0, 0, True)])
def test_batches_must_fit_into_shared_memory(
    workers: int, free: int, fits: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(surroundings, "SHARED", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    if fits:
        check_shared_memory(workers, 1000, "o.yml: datasets.train")
    else:
        with pytest.raises(InputError, match=r"datasets\.train\.num_worker_per_gpu: 2 .* --shm-size=1g\), or write 0"):
            check_shared_memory(workers, 1000, "o.yml: datasets.train")


def test_a_training_counts_its_batches(
    pairs: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(surroundings, "SHARED", tmp_path)
    options = changed(training_options(pairs), "datasets.train.num_worker_per_gpu", 1)
    need = 3 * 2 * (32**2 + 16**2) * 3 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=need))
    load_options(write_options(options), is_train=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=need - 1))
    with pytest.raises(InputError, match=r"1 reading processes need 0\.1 MB of shared memory"):
        load_options(write_options(options), is_train=True)


def test_plots_need_no_notebook() -> None:
    """The variable that notebooks set names a module of theirs; Matplotlib does not start with it."""
    code = (
        "from ramit_model.system.environment import set_defaults; set_defaults(); import matplotlib; "
        "print(matplotlib.get_backend())"
    )
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip().lower() == "agg"
