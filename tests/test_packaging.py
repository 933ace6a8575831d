"""The distributions: what a source distribution holds, and which requirements are declared where."""

import ast
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from helpers import REPOSITORY

pytest.importorskip("setuptools", minversion="69")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the checkout without anything that was built in it."""
    copy = tmp_path_factory.mktemp("source") / "ramit"
    ignore = shutil.ignore_patterns(".git", "build", "dist", "*.egg-info", "*.so", "__pycache__", ".*_cache", ".venv")
    folders = ("ramit_arch", "ramit_model", "datasets_prep", "options", "tests")
    for folder in folders:
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=ignore)
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


def test_the_source_distribution_holds_what_a_build_and_the_tests_need(source: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "sdist"]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    [archive] = (source / "dist").iterdir()
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    needed = {
        path.relative_to(source).as_posix()
        for folder in ("ramit_arch", "ramit_model", "datasets_prep", "options", "tests")
        for path in (source / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    needed |= {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    assert any(name.endswith(".cpp") for name in needed) and any(name.endswith(".h") for name in needed)
    assert not needed - held


def test_another_platform_builds_no_kernels(source: Path) -> None:
    """Nothing is compiled where the vector code was never tried: the package installs as pure Python."""
    code = (
        "import platform, sys, runpy, setuptools\n"
        "found = {}\n"
        "setuptools.setup = lambda **arguments: found.update(arguments)\n"
        "sys.platform, platform.machine = 'darwin', lambda: 'arm64'\n"
        "runpy.run_path('setup.py')\n"
        "assert found['ext_modules'] == [], found['ext_modules']\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True)


def test_an_old_python_is_told_so_in_one_line(source: Path) -> None:
    code = "import sys, runpy; sys.version_info = (3, 9, 18); runpy.run_path('setup.py')"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "needs Python 3.10 or later" in done.stderr


def test_setup_runs_as_far_as_that_line_on_the_oldest_python() -> None:
    """Its syntax, at least: an annotation or a match statement would end in a traceback instead."""
    ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"), feature_version=(3, 7))
