"""Paths as people write them in option files and on the command line."""

import os
import re

from ramit_model.system.errors import InputError

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


def expand(path: str | os.PathLike[str]) -> str:
    """Replace `~` and variables of the environment, and drop slashes at the end.

    A path that is there as it is written stays as it is: file names may have these characters.

    Args:
        path: Path, for example `~/hr`, `$DATA/HR.lmdb/`.

    Raises:
        InputError: A variable is not set.

    >>> os.environ["DATA"] = "/data"
    >>> expand("$DATA/HR.lmdb/"), expand("${DATA}"), expand("/"), expand("a/b")
    ('/data/HR.lmdb', '/data', '/', 'a/b')
    """
    text = os.fspath(path)
    if not os.path.lexists(text):
        for match in _VARIABLE.finditer(text):
            if match[1].strip("{}") not in os.environ:
                raise InputError(f"{text}: the variable {match[0]} is not set; set it, or write the whole path")
        text = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  a Path has no variables
    return text.rstrip("/") or text[:1]
