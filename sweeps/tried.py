"""Which configurations a search has begun: written before their trials start, so that a killed run asks them again.

With the records (what has ended, and how well) this is all that a search knows; its study lives in memory only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from privimage import lines
from privimage.plain_json import read_json

Params = dict[str, Any]  # values of the searched fields


class Tried:
    """The file `path`. One process writes it: the one that holds the run's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begun(self, study: str) -> list[Params]:
        """The configurations of a study, oldest first. Damaged lines are left out."""
        if not self._path.exists():
            return []
        whole = [text for line in self._path.read_bytes().splitlines() if (text := lines.parse(line)) is not None]
        found = [read_json(text) for text in whole]
        return [line["params"] for line in found if line["study"] == study]

    def add(self, study: str, params: Params) -> None:
        """Write down that the trials of this configuration begin now."""
        lines.append(self._path, json.dumps({"study": study, "params": params}))
