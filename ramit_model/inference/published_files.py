"""Where the weights are that a user names: a file, or a published one in ./weights, in the cache, or downloaded."""

from pathlib import Path

from ramit_model.inference.published_weights import published_weights
from ramit_model.system.errors import InputError

FOLDER = Path("weights")
"""Where the option files expect the published files."""


def locate(source: str | Path) -> Path:
    """Find the file of weights that a user names.

    Args:
        source: A file, or the name of a published one, with or without .pth, in any case.

    Raises:
        InputError: There is no such file and no such name.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if path.name == str(source):
        for entry in published_weights():
            if path.name.lower() in (entry.name.lower(), Path(entry.name).stem.lower()):
                file = FOLDER / entry.name
                if file.is_file():
                    return file
                raise InputError(f"{file}: no such file; download it from {entry.url}")
    raise InputError(f"{source}: no such file; check the path")
