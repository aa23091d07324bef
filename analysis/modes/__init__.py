"""Modes: what the report, the front and the card say of each way to search; a file a mode, found by its name here."""

from __future__ import annotations

from privimage.analysis.modes import explore, public, select
from privimage.analysis.modes.mode import Said
from privimage.privacy import modes

SAID: dict[modes.ModeName, Said] = {
    "explore": explore.Explored(),
    "select": select.Selected(),
    "public": public.InPublic(),
}
