"""Checkpoints written whole or not at all."""

import io
import os
from typing import Any

import torch

from ramit_model.system.files import write_atomically


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """`torch.save`, whole or not at all.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    # In memory first: on a full disk torch.save itself would end with an error that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(buffer.getbuffer(), path)
