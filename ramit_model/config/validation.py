"""Validation of blocks of option files: one line for the first mistake, with file, key and remedy."""

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ramit_model.system.errors import InputError
from ramit_model.system.text import printable


def check_schema(schema: type[BaseModel], block: Any, where: str) -> None:
    """Check `block` against `schema`; `where` is file and key so far."""
    try:
        schema.model_validate(block)
    except ValidationError as error:
        # A misspelt key is both unknown and missing: the unknown one explains more.
        problems = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise InputError(f"{where}{_explain(problems[0], schema)}") from None


def _explain(problem: ErrorDetails, schema: type[BaseModel]) -> str:
    """Line for one of pydantic's problems, for someone who edits the option file."""
    location = problem["loc"]
    key, value = _joined(location), problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"{key}: no such option{suggest(printable(str(location[-1])), _fields_at(schema, location[:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: is missing; add it"
    if isinstance(value, str) and re.search(r"int|float|number|literal", problem["type"]) and is_number(value):
        return f"{key}: YAML reads {value} as text; write {as_yaml_number(value)}"
    if problem["type"] == "too_short" and not value:
        return f"{key}: is empty; add an entry"
    if problem["type"] == "value_error":  # of our own
        return f"{key}: must be {problem['ctx']['error']}, not {value!r}"
    if problem["type"] == "string_type" and not isinstance(value, Mapping | list | None):
        return f"{key}: must be text, but YAML reads it as {value!r}; put it in quotes"
    expected = re.sub(r"a valid dictionary or instance of \w+", "a block of options", problem["msg"])
    for words, plain in (("Input should be ", ""), ("a valid integer", "an integer"), ("a valid ", "a ")):
        expected = expected.replace(words, plain)
    return f"{key}: must be {expected}, not {value!r}"


def _joined(location: Iterable[str | int]) -> str:
    """Place of an option in words: `train.losses[1].type`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{printable(str(part))}" for part in location)
    return "".join(parts).removeprefix(".")


def _fields_at(schema: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """Names of the options of the block at `location` inside `schema`."""
    for name in location:
        annotation = schema.model_fields[str(name)].annotation
        candidates = (annotation, *getattr(annotation, "__args__", ()))
        schema = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(schema.model_fields)


def suggest(word: str, known: Iterable[str]) -> str:
    """Hint for an unknown word: the known one that is most like it, or all known ones if they are few."""
    known = list(known)
    same = [name for name in known if name.casefold() == word.casefold()]
    near = same or difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if len(known) <= 25 else ""


def is_number(text: str) -> bool:
    """Whether Python reads `text` as a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def as_yaml_number(text: str) -> str:
    """Notation of a number that YAML 1.1 reads as one."""
    number = float(text)
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    mantissa, _, exponent = repr(number).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{'e' + exponent if exponent else ''}"


def check_numbers_as_text(
    block: Mapping[Any, Any] | list[Any], where: str, is_text: Callable[[Sequence[str]], bool], *keys: str | int
) -> None:
    """Refuse texts like 1e-4 wherever no text is wanted.

    Args:
        block: Options.
        where: File, for messages.
        is_text: Whether the option at these keys is text, like the name of a run.
        keys: Keys that lead to the block.
    """
    items = block.items() if isinstance(block, Mapping) else enumerate(block)
    for name, value in items:
        place = (*keys, name if isinstance(block, list) else str(name))
        here = _joined(place)
        if isinstance(value, (Mapping, list)):
            check_numbers_as_text(value, where, is_text, *place)
        elif is_text([str(key) for key in place]) and value != "None":
            continue
        elif isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", value) and is_number(value):
            raise InputError(f"{where}{here}: YAML reads {value} as text; write {as_yaml_number(value)}")
        elif value == "None":
            raise InputError(f"{where}{here}: YAML reads None as text; write ~ for no value")


def find(registry: Any, name: Any, where: str) -> Any:
    """Object called `name` in one of BasicSR's registries."""
    for candidate in (name, f"{name}_basicsr"):
        if isinstance(name, str) and candidate in registry:
            return registry.get(candidate)
    raise InputError(f"{where}: {name!r} is not registered{suggest(str(name), registry.keys())}")


def required_arguments(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments of `function` that have no default."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


def check_kinds(function: Callable[..., Any], block: Mapping[str, Any], where: str) -> None:
    """Check that the values of arguments are of the kinds of their defaults: yes or no, a number, text, a list."""
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in block or (block[name] is None and parameter.default is None):
            continue
        if (kind := _kind(parameter)) and not _is(block[name], kind):
            raise InputError(f"{where}.{name}: must be {kind}, not {block[name]!r}")


def _kind(parameter: inspect.Parameter) -> str | None:
    """Kind of value that an argument takes, by its default, in words; None if that is open."""
    default = parameter.default
    if isinstance(default, bool) or (default is None and "bool" in str(parameter.annotation)):
        return "true or false"
    if isinstance(default, int | float):
        return "a finite number"
    if isinstance(default, str):
        return "text"
    if isinstance(default, tuple) and all(isinstance(part, int | float) for part in default):
        return f"a list of {len(default)} numbers, such as {list(default)}"
    return None


def _is(value: Any, kind: str) -> bool:
    if kind == "true or false":
        return isinstance(value, bool)
    if kind == "a finite number":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "text":
        return isinstance(value, str)
    wanted = int(kind.split()[3])
    return isinstance(value, list) and len(value) == wanted and all(_is(part, "a finite number") for part in value)


def check_arguments(
    function: Callable[..., Any],
    block: Mapping[str, Any],
    where: str,
    *,
    ignore: tuple[str, ...] = (),
    given: tuple[str, ...] = (),
) -> None:
    """Check that all keys of `block` are arguments of `function`, and that none without a default is missing."""
    parameters = inspect.signature(function).parameters
    names = [name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    swallows = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and inspect.isclass(function)
    for key in block:
        if key not in names and key not in ignore and not swallows:
            raise InputError(
                f"{where}.{printable(str(key))}: no such option{suggest(str(key), set(names) - set(given))}"
            )
    for name in names:
        if parameters[name].default is inspect.Parameter.empty and name not in block and name not in given:
            raise InputError(f"{where}.{name}: is missing; add it")
