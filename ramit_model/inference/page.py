"""HTML pages that hold all they show and load nothing."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, values: Mapping[str, Any]) -> str:
    """Fill in a Jinja2 template; text is escaped, and a name without a value is an error.

    Args:
        template: Template file.
        values: Value of each name.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(values)


def data_uri(content: bytes, media_type: str) -> str:
    """Address that holds a file itself.

    >>> data_uri(b"abc", "image/png")
    'data:image/png;base64,YWJj'
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
