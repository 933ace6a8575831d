"""Variables that the command sets for the libraries: a user's own settings win."""

import os

import pytest

from ramit_model.system.environment import DEFAULTS, WAITING, set_defaults


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS.keys() | WAITING:
        monkeypatch.setenv(name, "")  # restores what the test sets
        monkeypatch.delenv(name)


def test_nothing_set() -> None:
    set_defaults()
    assert {name: os.environ[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "100"), ("KMP_BLOCKTIME", "200")]
)
def test_a_users_setting_wins(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    set_defaults()
    assert {name: os.environ[name] for name in WAITING & os.environ.keys()} == {name: value}
    assert os.environ["OPENCV_LOG_LEVEL"] == "SILENT"
