"""What the commands of this package have in common: a parser that reports in one line, exit codes."""

import argparse
from typing import NoReturn

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")
