"""The examples in docstrings."""

import doctest
import importlib

import pytest
from helpers import REPOSITORY


def is_example(line: str) -> bool:
    """Whether doctest runs a line: it begins an example that is not only to be read."""
    return line.lstrip().startswith(">>> ") and "doctest: +SKIP" not in line


PACKAGES = ("ramit_arch", "ramit_model", "datasets_prep")
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in (REPOSITORY / package).rglob("*.py")
    if any(is_example(line) for line in path.read_text(encoding="utf-8").splitlines())
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


def test_examples_are_found() -> None:
    assert "ramit_arch.mobivari" in WITH_EXAMPLES
