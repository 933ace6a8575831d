"""Option files as plain data, and replacements from the command line."""

import codecs
import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from ramit_model.system.errors import InputError, one_line
from ramit_model.system.text import printable

Options = dict[str, Any]

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    # Before UTF-16, whose mark begins alike.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""First bytes of text files -> their encoding."""

WITHOUT_TEXT = (yaml.StreamStartToken, yaml.StreamEndToken, yaml.BlockEndToken)
"""Tokens of YAML that stand for no characters, wherever they are."""

MAX_VALUES, MAX_DEPTH = 100_000, 50
"""Limits of an option file, for a few lines of `&` and `*` can stand for any number of values, or for a circle."""


class _PlainLoader(yaml.SafeLoader):
    """Loader of YAML without Python tags; a duplicate key in a mapping is an error. Merge keys (`<<`) work."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # PyYAML refuses it
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' stands twice; keep one", key_node.start_mark
                )
            seen.add(str(key))
        return super().construct_mapping(node, deep)


def recipe_folder() -> Path:
    """Folder of the option files: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return next(folder for folder in (here / "recipes", here.parent / "options") if folder.is_dir())


def find_option_file(path: str) -> str:
    """Path of an option file; one of `options/` that is not in the current folder is found where it is installed."""
    named = Path(path)
    installed = recipe_folder() / named.name
    if named.parent in (Path("options"), Path()) and not os.path.lexists(named) and installed.is_file():
        return str(installed)
    return path


def read_yaml(path: str | os.PathLike[str]) -> Options:
    """Parse an option file.

    Raises:
        InputError: The file is missing, not YAML or not a mapping, or has a Python tag or a duplicate key.
    """
    try:
        text = decode(Path(path).read_bytes(), path)
    except FileNotFoundError:
        near = difflib.get_close_matches(Path(path).name, _names_beside(path), n=1)
        hint = f"did you mean {Path(path).with_name(near[0])}?" if near else "check the path"
        raise InputError(f"{path}: no such option file; {hint}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; -opt takes a YAML option file") from None
    try:
        options = _parse(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = error.problem or "not valid YAML"
        if "could not determine a constructor for the tag" in problem:
            tag = problem.rpartition("tag ")[2].replace("tag:yaml.org,2002:", "!!")
            problem = f"the tag {tag} is refused: option files are plain data; remove it"
        raise InputError(f"{path}{line}: {problem}") from None
    except _FAILURES as error:
        raise InputError(f"{path}: not valid YAML: {one_line(error)}") from None
    if not isinstance(options, dict):
        raise InputError(f"{path}: holds no options; the file must be a mapping that begins with name: and model_type:")
    return options


# PyYAML lets through whatever Python raises of a value that its tag does not fit.
_FAILURES = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


def _parse(text: str) -> Any:
    """Parse YAML of plain data, within the limits of an option file."""
    content = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  a SafeLoader
    count, pending = 0, [(content, 0)]
    while pending:
        value, depth = pending.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_VALUES} values, or more than {MAX_DEPTH} blocks inside of each other")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        pending += [(item, depth + 1) for item in inner]
    return content


def _names_beside(path: str | os.PathLike[str]) -> list[str]:
    folder = Path(path).parent
    folder = recipe_folder() if folder == Path("options") and not folder.is_dir() else folder
    return [p.name for p in folder.glob("*.yml")] if folder.is_dir() else []


def decode(content: bytes, path: str | os.PathLike[str]) -> str:
    """Text of an option file: UTF-8, or UTF-16 or UTF-32 with a byte order mark, as some editors save it.

    Raises:
        InputError: It is neither.
    """
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError:
                raise InputError(f"{path}: begins as {encoding} but is not; save it as UTF-8") from None
    if b"\0" in content:
        raise InputError(f"{path}: not a text file in UTF-8; -opt takes a YAML option file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the file as UTF-8 in your editor") from None


def override(
    options: Options,
    entries: Iterable[str],
    path: str | os.PathLike[str],
    is_text: Callable[[Sequence[str]], bool] = lambda _: False,
) -> None:
    """Set single options in place, as BasicSR's `--force_yml key:subkey=value` does, without executing anything.

    Args:
        options: Parsed option file.
        entries: `key:subkey=value`; the value is read as YAML (and `none` as empty).
        path: The option file, for messages.
        is_text: Whether the option at these keys is text; its value is taken as it is typed.

    Raises:
        InputError: An entry has no `=`, names a block that is not there, or its value is not YAML.
    """
    for entry in entries:
        names, equals, text = entry.partition("=")
        if not equals:
            raise InputError(f"--force_yml {printable(entry)}: write key:subkey=value")
        keys = [key.strip() for key in names.split(":")]
        block: Any = options
        for depth, key in enumerate(keys[:-1]):
            block = block.get(key)
            if not isinstance(block, dict):
                raise InputError(printable(f"--force_yml {entry}: {path} has no block {':'.join(keys[: depth + 1])}"))
        try:
            block[keys[-1]] = _value(text.strip(), as_typed=is_text(keys))
        except _FAILURES:
            quoted = text.strip().replace("\\", "\\\\").replace('"', '\\"')
            remedy = f"if it is text, quote it: '{names}=\"{quoted}\"'"
            raise InputError(printable(f"--force_yml {entry}: the value is not valid YAML; {remedy}")) from None


def _value(text: str, *, as_typed: bool) -> Any:
    """Value from the command line.

    Args:
        text: The value.
        as_typed: Read text in quotes as YAML does, and take any other as it is.

    Raises:
        YAMLError: It is not YAML, or a `#` would cut it short.
        ValueError: The same.
    """
    if text.lower() in ("none", "null", "~", ""):
        return None
    if as_typed and not text.startswith(("'", '"', "!!str")):
        return text
    value = _parse(text)
    tokens = [token for token in yaml.scan(text, Loader=_PlainLoader) if not isinstance(token, WITHOUT_TEXT)]
    if text[max((token.end_mark.index for token in tokens), default=0) :].strip():
        raise ValueError("a comment would be cut off")
    return float(value) if isinstance(value, str) and text.startswith("!!float") else value
