"""Options that are text, by the schemas: on the command line, their values are taken as they are typed."""

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from ramit_model.config.dataset_schema import DATASETS


def is_text(schema: type[BaseModel], blocks: Mapping[str, type[BaseModel]], keys: Sequence[str]) -> bool:
    """Whether the option at `keys` is text.

    Args:
        schema: Schema of the option file.
        blocks: Option -> schema of each block in it, or of the block itself, where `schema` leaves that open.
        keys: Keys that lead to the option.

    >>> from ramit_model.config.schema import TestOptions
    >>> [is_text(TestOptions, {}, keys.split(":")) for keys in ("name", "scale", "path:param_key_g", "network_g:type")]
    [True, False, True, True]
    >>> [is_text(TestOptions, {}, ["datasets", "test_1", key]) for key in ("filename_tmpl", "gt_size")]
    [True, False]
    """
    first, *rest = keys
    if first == "datasets":
        sets = [kind for kinds in DATASETS.values() for kind in kinds]
        return len(rest) > 1 and any(_is_text_in(kind, rest[1:]) for kind in sets)
    if first in blocks:
        return _is_text_in(blocks[first], rest) or _is_text_in(blocks[first], rest[1:])
    return _is_text_in(schema, keys)


def _is_text_in(schema: type[BaseModel], keys: Sequence[str]) -> bool:
    if not keys or keys[0] not in schema.model_fields:
        return False
    annotation = schema.model_fields[keys[0]].annotation
    if len(keys) == 1:
        return str in _choices(annotation)
    for choice in _choices(annotation):
        if get_origin(choice) is dict and len(keys) > 2 and _is_text_in_block(get_args(choice)[1], keys[2:]):
            return True
        if _is_text_in_block(choice, keys[1:]):
            return True
    return False


def _is_text_in_block(choice: Any, keys: Sequence[str]) -> bool:
    return isinstance(choice, type) and issubclass(choice, BaseModel) and _is_text_in(choice, keys)


def _choices(annotation: Any) -> list[Any]:
    """Types of a union, without their limits."""
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [choice for part in get_args(annotation) for choice in _choices(part)]
    return [annotation]
