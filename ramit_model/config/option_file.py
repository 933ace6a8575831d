"""Option files as plain data, and replacements from the command line."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ramit_model.system.errors import InputError

Options = dict[str, Any]


class _PlainLoader(yaml.SafeLoader):
    """Loader of YAML without Python tags; a duplicate key in a mapping is an error. Merge keys (`<<`) work."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' stands twice; keep one", key_node.start_mark
                )
            seen.add(str(key))
        return super().construct_mapping(node, deep)


def read_yaml(path: str | os.PathLike[str]) -> Options:
    """Parse an option file.

    Raises:
        InputError: The file is missing, not YAML or not a mapping, or has a Python tag or a duplicate key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(Path(path).name, _names_beside(path), n=1)
        hint = f"did you mean {Path(path).with_name(near[0])}?" if near else "check the path"
        raise InputError(f"{path}: no such option file; {hint}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; -opt takes a YAML option file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; -opt takes a YAML option file") from None
    try:
        options = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = error.problem or "not valid YAML"
        if "could not determine a constructor for the tag" in problem:
            tag = problem.rpartition("tag ")[2].replace("tag:yaml.org,2002:", "!!")
            problem = f"the tag {tag} is refused: option files are plain data; remove it"
        raise InputError(f"{path}{line}: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(options, dict):
        raise InputError(f"{path}: holds no options; the file must be a mapping that begins with name: and model_type:")
    return options


def _names_beside(path: str | os.PathLike[str]) -> list[str]:
    folder = Path(path).parent
    return [p.name for p in folder.glob("*.yml")] if folder.is_dir() else []


def override(options: Options, entries: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Set single options in place, as BasicSR's `--force_yml key:subkey=value` does, without executing anything.

    Args:
        options: Parsed option file.
        entries: `key:subkey=value`; the value is read as YAML (and `none` as empty).
        path: The option file, for messages.

    Raises:
        InputError: An entry has no `=`, names a block that is not there, or its value is not YAML.
    """
    for entry in entries:
        keys, equals, text = entry.partition("=")
        if not equals:
            raise InputError(f"--force_yml {entry}: write key:subkey=value")
        *parents, last = (key.strip() for key in keys.split(":"))
        block: Any = options
        for depth, key in enumerate(parents):
            block = block.get(key)
            if not isinstance(block, dict):
                raise InputError(f"--force_yml {entry}: {path} has no block {':'.join(parents[: depth + 1])}")
        try:
            block[last] = None if text.strip().lower() == "none" else yaml.load(text, Loader=_PlainLoader)  # noqa: S506
        except (yaml.YAMLError, ValueError):
            raise InputError(f"--force_yml {entry}: the value is not valid YAML") from None
        if isinstance(block[last], str) and text.strip().startswith("!!float"):
            block[last] = float(block[last])
