"""The smoke test's own judgment: which interpreters it finds, and what is a failure of the network."""

import importlib.util
import sys
from pathlib import Path

import pytest
from helpers import REPOSITORY

_spec = importlib.util.spec_from_file_location("smoke", REPOSITORY / "tests/smoke.py")
smoke = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(smoke)

HASHES = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
TIMEOUT = "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='x', port=443): Read timed out."
RETRY = (
    "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'NewConnectionError('<pip._vendor."
    "urllib3.connection.HTTPConnection object>: Failed to establish a new connection: [Errno 111] Connection refused')'"
)
BUILD = "error: subprocess-exited-with-error\n  KeyError: '__version__'"
RESOLUTION = "ERROR: No matching distribution found for torch>=2.7"


@pytest.mark.parametrize(
    ("output", "failed"),
    [
        (f"Collecting torch\n{TIMEOUT}", True),
        (f"{RETRY}\n{RESOLUTION}", True),
        (HASHES, True),
        ("ERROR: Wheel 'torch' located at /tmp/pip-unpack-x/torch-2.14.1-cp310-cp310-linux.whl is invalid.", True),
        ("ERROR: HTTP error 503 while getting https://x/torch.whl", True),
        ("ERROR: HTTP error 404 while getting https://x/torch.whl", False),
        (BUILD, False),
        (RESOLUTION, False),
        ("", False),
    ],
)
def test_failures_of_the_network(output: str, failed: bool) -> None:
    assert bool(smoke.network_failure(output)) == failed


def test_the_python_that_runs_this_is_found() -> None:
    version = "{}.{}".format(*sys.version_info[:2])
    assert smoke.version_of(Path(sys.executable)) == version
    found = dict(smoke.interpreters())
    assert tuple(found) == smoke.SUPPORTED
    assert version in found


def test_a_shim_that_stands_for_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "bin" / "python3.10"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert set(dict(smoke.interpreters()).values()) == {None}
    real = tmp_path / "versions" / "3.10.99" / "bin" / "python"
    real.parent.mkdir(parents=True)
    real.write_text("#!/bin/sh\necho 3.10\n")
    real.chmod(0o755)
    assert dict(smoke.interpreters())["3.10"] == real


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (smoke.NetworkFailure("Read timed out."), "skipped: the network failed while downloading: Read timed out."),
        (smoke.subprocess.CalledProcessError(1, ["basicsr", "train"]), "FAILED: basicsr train"),
    ],
)
def test_outcomes(error: Exception, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(python: Path, folder: Path, constraints: list[str]) -> None:
        raise error

    monkeypatch.setattr(smoke, "smoke", fail)
    assert smoke._outcome("3.13", Path("python3.13"), []) == result


def test_lower_bounds_are_those_of_setup() -> None:
    bounds = smoke.lowest()
    assert {"torch==2.7", "scipy==1.11.1", "pytest==8"} < set(bounds)
    assert not [bound for bound in bounds if bound.startswith("ramit")]
