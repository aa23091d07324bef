"""Tuning: the mode of a sweep, by the name that its file gives."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from privimage.sweeps.modes.explore import Explore
from privimage.sweeps.modes.mode import Mode
from privimage.sweeps.modes.public import Public
from privimage.sweeps.modes.select import Select

MODES: dict[str, type[Mode]] = {"explore": Explore, "select": Select, "public": Public}
USUAL = "explore"  # where a file names none


def _mode(value: Any) -> str | None:
    return value.get("mode", USUAL) if isinstance(value, dict) else getattr(value, "mode", None)


Tuning = Annotated[
    Annotated[Explore, Tag("explore")] | Annotated[Select, Tag("select")] | Annotated[Public, Tag("public")],
    Discriminator(
        _mode, custom_error_type="mode", custom_error_message="tuning.mode should be explore, select or public"
    ),
]
