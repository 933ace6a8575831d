"""What the commands of this package have in common: a parser that reports in one line, whole numbers, exit codes."""

import argparse
from collections.abc import Callable
from typing import NoReturn

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` up."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
        return int(text)

    return convert


def add_overrides(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """Give a parser an argument, such as `--force_yml`, that replaces options of the option file."""
    parser.add_argument(name, nargs="+", action="extend", default=[], metavar="KEY:SUBKEY=VALUE", help=help)
