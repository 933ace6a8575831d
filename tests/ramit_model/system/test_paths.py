"""Paths with ~ and variables, as people write them."""

from pathlib import Path

import pytest

from ramit_model.system.errors import InputError
from ramit_model.system.paths import expand


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("MISSING", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_what_is_replaced(home: Path) -> None:
    assert expand("~/hr") == f"{home}/hr"
    assert expand("~") == str(home)
    assert expand("$DATA/a/${DATA}x/") == "/data/a//datax"
    assert expand("HR.lmdb/") == expand("HR.lmdb//") == "HR.lmdb"
    assert expand("/") == "/"
    assert expand("") == ""


def test_files_of_such_names_stay(tmp_path: Path) -> None:
    for name in ("~", "$MISSING.png", "a~b"):
        (tmp_path / name).touch()
        assert expand(name) == name


def test_a_variable_that_is_not_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^\$MISSING/hr: the variable \$MISSING is not set"):
        expand("$MISSING/hr")
