"""Arguments of the launcher; test_several_machines.py and test_training.py start processes by it."""

import pytest

from ramit_model.commands.launcher import launcher_arguments
from ramit_model.system.errors import InputError


def completed(*arguments: str, goes_on: bool = True) -> list[str]:
    return launcher_arguments(arguments, "x2", goes_on=goes_on)


@pytest.mark.parametrize("wrong", [["--nodes", "2"], ["--nnodes"], ["more"], ["--nnodes", "two"], ["--nnodes", "2:1"]])
def test_wrong_arguments(wrong: list[str]) -> None:
    with pytest.raises(InputError, match="--help"):
        completed(*wrong)


@pytest.mark.parametrize("arguments", [[], ["--max-restarts", "3"], ["--nnodes=1"]])
def test_one_machine(arguments: list[str]) -> None:
    """Nothing of another run on this machine gets in the way."""
    assert completed(*arguments) == ["--standalone", *arguments]
    assert completed("--standalone") == ["--standalone"]


def test_several_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = ["--nnodes", "2", "--rdzv-endpoint", "host:29400"]
    assert completed(*machines) == ["--rdzv-backend=c10d", "--rdzv-id=x2", *machines]
    # What is given stays.
    for given in (["--rdzv_backend=etcd-v2", "--rdzv_id", "9"], ["--node-rank=1", "--rdzv-id=9"]):
        assert completed(*machines, *given) == [*machines, *given]
    ranked = ["--nnodes", "2", "--node-rank", "1", "--master-addr", "host"]
    assert completed(*ranked) == ["--rdzv-id=x2", *ranked]
    monkeypatch.setenv("PET_RDZV_BACKEND", "c10d")
    monkeypatch.setenv("PET_RDZV_ENDPOINT", "host")
    assert completed("--nnodes=2") == ["--rdzv-id=x2", "--nnodes=2"]


@pytest.mark.parametrize("machines", ["2", "1:2"])
def test_machines_that_would_not_meet(machines: str) -> None:
    with pytest.raises(InputError, match=f"--nnodes {machines}: .*--rdzv-endpoint HOST:PORT"):
        completed("--nnodes", machines)


@pytest.mark.parametrize("again", [["--max-restarts", "3"], ["--nnodes", "1:2", "--rdzv-endpoint", "host"]])
def test_what_is_started_again_goes_on(again: list[str]) -> None:
    with pytest.raises(InputError, match=r"^" + " ".join(again[:2]) + r": .* add --auto_resume"):
        completed(*again, goes_on=False)
    assert completed(*again)
