"""`basicsr --version`: who provides BasicSR, and the state of the kernels."""

import sys
from importlib.metadata import EntryPoint, PackageNotFoundError
from types import SimpleNamespace

import pytest
from helpers import REPOSITORY

from ramit_arch.kernels.cpu import library
from ramit_model.cli import main
from ramit_model.commands import version


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Distributions that seem to be installed, name -> version."""
    distributions = {"ramit-basicsr": "0.1.0", "torch": "2.9", "torchvision": "0.24", "numpy": "2.0"}

    def fake(name: str) -> str:
        if name not in distributions:
            raise PackageNotFoundError(name)
        return distributions[name]

    monkeypatch.setattr(version, "version", fake)
    monkeypatch.setattr(version, "packages_distributions", dict)
    return distributions


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["basicsr"], ", basicsr 1.4.2, torch 2.9,"),
        (["my-basicsr"], ", my-basicsr 1.4.2, torch 2.9,"),
        (["my-basicsr", "basicsr"], ", basicsr 1.4.2, my-basicsr 1.4.2, torch 2.9,"),
        ([], ", basicsr (not installed), torch 2.9,"),
    ],
)
def test_the_distribution_that_provides_basicsr_is_named(
    names: list[str], part: str, installed: dict[str, str]
) -> None:
    installed.update(dict.fromkeys(names, "1.4.2"))
    assert part in version.versions()
    assert version.versions().endswith(f"Python {sys.version.split()[0]}")


def test_an_unknown_distribution_is_found_too(installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed["a-fork"] = "9"
    monkeypatch.setattr(version, "packages_distributions", lambda: {"basicsr": ["a-fork", "a-fork"]})
    assert ", a-fork 9, torch 2.9," in version.versions()


def test_two_distributions_of_basicsr_are_noted(installed: dict[str, str]) -> None:
    installed["basicsr"] = "1.4.2"
    assert version.notes() == []
    installed["my-basicsr"] = "1.4.2"
    [note] = version.notes()
    assert note.startswith("basicsr and my-basicsr own the same folder")
    assert note.endswith("--no-deps my-basicsr==1.4.2")


def test_another_package_with_our_command_is_noted(installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def command(value: str, name: str) -> EntryPoint:
        entry = EntryPoint("basicsr", value, "console_scripts")
        return entry._for(SimpleNamespace(name=name))

    ours = command(version.OUR_COMMAND, "ramit-basicsr")
    monkeypatch.setattr(version, "entry_points", lambda **_: [ours])
    assert version.notes() == []
    monkeypatch.setattr(version, "entry_points", lambda **_: [ours, command("other.cli:main", "other")])
    assert version.notes() == ["other has a command basicsr, too; python -m ramit_model is always this one"]


def test_the_entry_point_is_that_of_setup() -> None:
    assert f'"console_scripts": ["basicsr={version.OUR_COMMAND}"]' in (REPOSITORY / "setup.py").read_text()


def test_a_missing_torch_is_one_line(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del installed["torch"]
    monkeypatch.setitem(sys.modules, "ramit_arch.kernels.cpu.library", None)
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 1
    said = capsys.readouterr()
    assert "torch (not installed)" in said.out
    assert len(said.err.splitlines()) == 1 and "PyTorch cannot be imported" in said.err


def test_the_state_of_the_kernels_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("ramit-basicsr ")
    assert last == library.status()
