"""Progress in files: a line now and then, and none for what is quick."""

import io
import sys

import pytest
from tqdm import tqdm

from ramit_model.system import occasional
from ramit_model.system.occasional import bar_options


def test_a_file_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for _ in tqdm(range(3), desc="quick", unit="image", **bar_options()):
        pass
    with tqdm(total=2, unit="image", **bar_options()) as bar:
        bar.set_description("described")
    for _ in tqdm(range(3), desc="hidden", unit="image", **bar_options(hidden=True)):
        pass
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(occasional, "PAUSE", 0)
    for _ in tqdm(range(3), desc="slow", unit="image", **bar_options()):
        pass
    lines = sys.stderr.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines[-2:]] == ["slow: 2 of 3", "slow: 3 of 3"]
    with tqdm(total=2, unit="image", **bar_options()) as bar:
        bar.set_description("described")
    assert sys.stderr.getvalue().splitlines()[-1].startswith("described: 0 of 2, ")
    assert "\r" not in sys.stderr.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    assert bar_options(leave=False) == {"disable": False, "leave": False}
