"""What a file says of the pool: the public images and variations of them, of which images are chosen; free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from privimage.schema import Frozen

Vary = Literal["strokes", "photo"]


class PoolConfig(Frozen):
    """The public images as they are, and variations of each of them."""

    views: int = Field(default=3, ge=1, le=100)  # of every public image: itself, and variations
    vary: Vary | None = None  # how variations are made: strokes for grey glyphs, photo; null: by the number of channels

    def kind(self, channels: int) -> Vary:
        """How variations of images with so many channels are made."""
        return self.vary or ("strokes" if channels == 1 else "photo")
