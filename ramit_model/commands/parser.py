"""Parts that all commands share: a parser that reports in one line, whole numbers, exit codes."""

import argparse
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ramit_model.system.errors import InputError
from ramit_model.system.paths import expand

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Argument parser that reports a mistake in one line."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is none of the choices, with the one that is most like it."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
            raise argparse.ArgumentError(action, f"{value!r} is unknown; {hint}")

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith("?") else ";"
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: {message}{end} see {self.prog} --help\n")


def at_least(least: int) -> Callable[[str], int]:
    """Type of an argument that must be a whole number of at least `least`."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return convert


def path_type(text: str) -> Path:
    """Type of an argument that is a path, which may have `~` and variables."""
    return Path(expanded(text))


def expanded(text: str) -> str:
    """Type of an argument that is a path or a name, which may have `~` and variables."""
    try:
        return expand(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_overrides(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """Add an argument, such as `--force_yml`, that replaces options of the option file."""
    parser.add_argument(name, nargs="+", action="extend", default=[], metavar="KEY:SUBKEY=VALUE", help=help)
