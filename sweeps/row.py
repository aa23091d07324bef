"""A comparison row of a sweep: a method beside the search, with its own best settings."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from privimage.methods.method import METHODS
from privimage.schema import Frozen


class Row(Frozen):
    """A comparison row: a method beside the search, with some dotted fields replaced.

    What it runs with, the last wins: a field's default, what its method knows of the sweep's `method:` part, the
    settings that suit it where it is another method than the sweep's, `set`. A method of the search or of the sweep
    itself has its settings below what stands in `method:`, and of course below what is searched.
    """

    method: str
    set: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in METHODS.names():
            raise ValueError(f"allowed: {', '.join(METHODS.names())}")
        return method

    @field_validator("set")
    @classmethod
    def _of_the_method(cls, values: dict[str, Any]) -> dict[str, Any]:
        for dotted in values:
            if not dotted.startswith("method.") or dotted == "method.name":
                raise ValueError(
                    f"{dotted}: a row replaces fields of method, and names its method in 'method'; its data, budget "
                    "and noise are those of the sweep"
                )
        return values
