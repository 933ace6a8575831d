"""Types that every schema of option files is made of."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

Natural = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Sigma = Annotated[float, Field(ge=0, le=255)]
Gpus = Annotated[Any, WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 0}]})]


def _whole(value: float) -> float:
    if not value.is_integer():
        raise ValueError("a whole number")
    return value


def _held_out(value: Any) -> Any:
    if value != "tenth" and (type(value) is not int or value < 0):
        raise ValueError("tenth, or a number from 0 up")
    return value


HeldOut = Annotated[
    Any,
    AfterValidator(_held_out),
    WithJsonSchema({"anyOf": [{"const": "tenth"}, {"type": "integer", "minimum": 0}]}),
]
"""Photos that a training leaves to its validation."""

Interval = Annotated[float, Field(gt=0), AfterValidator(_whole)]
"""Number of iterations, which BasicSR's own option files also write as 5e3."""


class Block(BaseModel):
    """Mapping whose keys are all known; numbers must be numbers."""

    # BasicSR calls an option model_type; pydantic keeps model_ for itself unless told otherwise.
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Typed(BaseModel):
    """Object from a registry, with its arguments."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: str = Field(description="Name in BasicSR's registry; the other keys are arguments of what it names.")
