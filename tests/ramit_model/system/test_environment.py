"""Variables that the command sets for the libraries: a user's own settings win; terminals of any encoding."""

import io
import os
import sys

import pytest

from ramit_model.system.environment import DEFAULTS, WAITING, set_defaults, write_any_text


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


def test_a_terminal_without_the_characters_gets_them_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    write_any_text()
    print("写真 \udcff", flush=True)
    assert stream.buffer.getvalue() == b"\\u5199\\u771f \\udcff\n"  # type: ignore[attr-defined]
