"""Parts that all commands share: a parser that reports in one line, whole numbers, exit codes."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ramit_model.system.errors import InputError
from ramit_model.system.paths import expand

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Argument parser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def at_least(least: int) -> Callable[[str], int]:
    """Type of an argument that must be a whole number of at least `least`."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return convert


def path_type(text: str) -> Path:
    """Type of an argument that is a path, which may have `~` and variables."""
    try:
        return Path(expand(text))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_overrides(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """Add an argument, such as `--force_yml`, that replaces options of the option file."""
    parser.add_argument(name, nargs="+", action="extend", default=[], metavar="KEY:SUBKEY=VALUE", help=help)
