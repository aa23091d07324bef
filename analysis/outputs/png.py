"""What forms of one PNG an image share: the bytes of the file, and the names of directories that stand for labels."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An image uint8 [1 or 3, H, W] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def directories(classes: Sequence[str]) -> tuple[str, ...]:
    """A name of a directory for every label: those of the classes, if they are such names and lie in their order.

    Else the number of the label stands before, so that they do: what reads the directories sorts them by name.

    >>> directories(["cat", "dog"])
    ('cat', 'dog')
    >>> directories(["dog", "a/c"])
    ('0_dog', '1_a-c')
    """
    plain = all(_is_plain(name) for name in classes) and len({name.casefold() for name in classes}) == len(classes)
    if plain and list(classes) == sorted(classes):
        return tuple(classes)
    width = len(str(len(classes) - 1))
    return tuple(f"{i:0{width}d}_{_made_plain(name)}" for i, name in enumerate(classes))


MOST = 200  # bytes of a name that any file system takes, with a number before it


def _is_plain(name: str) -> bool:
    return name == _made_plain(name) and not name.startswith(".") and name != "__MACOSX" and name.strip() == name != ""


def _made_plain(name: str) -> str:
    clean = "".join(
        "-" if character in '/\\:*?"<>|' or not character.isprintable() else character for character in name
    )
    return clean.encode("utf-8", "replace")[:MOST].decode("utf-8", "ignore").rstrip(". ")
