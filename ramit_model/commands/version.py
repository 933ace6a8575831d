"""`basicsr --version`: what is installed, who provides BasicSR, and whether the compiled kernels are in use."""

import argparse
import sys
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from typing import Any

from ramit_model.basicsr_bridge import DISTRIBUTIONS

OUR_COMMAND = "ramit_model.cli:main"
"""Entry point of the `basicsr` command, as in setup.py."""


def providers() -> list[str]:
    """Installed distributions that own the package `basicsr`; the ones that we know are found without a search."""
    return [name for name in DISTRIBUTIONS if _version(name)] or sorted(
        set(packages_distributions().get("basicsr", []))
    )


def versions() -> str:
    """Versions of everything that matters, in one line; imports nothing."""
    parts = [_describe(name) for name in ("ramit-basicsr", *(providers() or ["basicsr"]))]
    parts += [_describe(name) for name in ("torch", "torchvision", "numpy")]
    return f"{', '.join(parts)}, Python {sys.version.split()[0]}"


def notes() -> list[str]:
    """Say in a line each what may surprise: two distributions of BasicSR, or two packages with our command."""
    lines = []
    if len(names := providers()) > 1:
        lines.append(
            f"{' and '.join(names)} own the same folder, and the one installed last is in use; after removing one: "
            f"pip install --force-reinstall --no-deps {names[-1]}=={_version(names[-1])}"
        )
    commands = entry_points(group="console_scripts", name="basicsr")
    others = sorted({command.dist.name for command in commands if command.dist and command.value != OUR_COMMAND})
    if others:
        lines.append(f"{' and '.join(others)} has a command basicsr, too; python -m ramit_model is always this one")
    return lines


def _describe(name: str) -> str:
    return f"{name} {_version(name) or '(not installed)'}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


class VersionAction(argparse.Action):
    """`--version`: the versions and notes at once, then, when torch is imported, the state of the kernels."""

    def __init__(self, option_strings: list[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="say what is installed, and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print and exit."""
        print("\n".join([versions(), *notes()]), flush=True)
        try:
            from ramit_arch.kernels.cpu.library import status
        except ImportError as error:
            parser.exit(1, f"basicsr: PyTorch cannot be imported: {error}\n")
        print(status())
        parser.exit()
