"""Failed imports: those that the user can mend are one line, mistakes of ours stay tracebacks."""

import pytest

from ramit_model import cli
from ramit_model.commands.import_errors import explain

MISSING = "{}: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (ImportError(MISSING.format("libGL.so.1")), "apt-get install libgl1"),
        (ImportError(MISSING.format("libxcb.so.1")), "opencv-python-headless"),
        (ImportError(MISSING.format("libgthread-2.0.so.0")), "libgthread-2.0.so.0"),
        (ImportError(MISSING.format("libcudart.so.13")), "the system library libcudart.so.13 is missing"),
        (ImportError("a folder hides it", name="basicsr"), "a folder hides it"),
        (ModuleNotFoundError("No module named 'basicsr'", name="basicsr"), "pip install basicsr==1.4.2"),
        (ModuleNotFoundError("No module named 'lmdb'", name="lmdb"), "No module named 'lmdb'; install what"),
    ],
)
def test_what_a_user_can_mend(error: ImportError, part: str) -> None:
    said = explain(error)
    assert said is not None and part in said and "\n" not in said


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'ramit_model.datta'", name="ramit_model.datta"),
        ModuleNotFoundError("No module named 'basicsr.datta'", name="basicsr.datta"),
        ImportError("cannot import name 'x' from 'ramit_arch'", name="ramit_arch"),
    ],
)
def test_what_is_a_mistake_of_ours(error: ImportError) -> None:
    assert explain(error) is None


def test_the_command_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> int:
        raise ImportError(MISSING.format("libGL.so.1"))

    monkeypatch.setattr(cli, "_demo", fail)
    assert cli.main(["demo"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("basicsr demo: OpenCV needs the system library libGL.so.1") and len(said.splitlines()) == 1
