"""One picture of a few images, to look at: a row a label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from privimage.analysis.outputs.output import ImageBlocks, Output, suffixed
from privimage.progress import Tell

COLUMNS = 100  # images a label that a picture may show


class Picture(Output):
    """All images at once: there are few."""

    form: ClassVar[str] = "grid.png"

    def fits(self, to: str) -> bool:
        """See Output."""
        return suffixed(to, ".png")

    def refuses(self, name: str, counts: Mapping[int, int]) -> str | None:
        """See Output: a row has its end."""
        most = max(counts.values())
        if most <= COLUMNS:
            return None
        return f"a picture shows at most {COLUMNS} images a label, got {most}; write .npz"

    def write(self, drawn: ImageBlocks, into: Path, name: str, tell: Tell) -> None:
        """See Output."""
        from privimage.analysis import pictures  # here, as it imports matplotlib

        x = np.concatenate(list(drawn.blocks()))
        columns = int(np.unique(drawn.y, return_counts=True)[1].max())
        (into / name).write_bytes(pictures.enlarged(pictures.Samples(x=x, y=drawn.y), columns=columns, rows=None))


MEMBERS = {"picture": Picture()}
