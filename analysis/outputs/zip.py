"""A zip of one PNG an image, in a directory a class, as the source `zip` reads it. PNG are stored as they are."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import ClassVar

from privimage.analysis.outputs.output import ImageBlocks, Output, suffixed
from privimage.analysis.outputs.png import directories, png_bytes
from privimage.progress import Tell


class ZipFolder(Output):
    """The form `folder` in one file."""

    form: ClassVar[str] = "images.zip"

    def fits(self, to: str) -> bool:
        """See Output."""
        return suffixed(to, ".zip")

    def write(self, drawn: ImageBlocks, into: Path, name: str, tell: Tell) -> None:
        """See Output."""
        folders = directories(drawn.classes)
        with zipfile.ZipFile(into / name, "w", zipfile.ZIP_STORED) as file:
            for i, image, label in drawn.each(tell):
                member = zipfile.ZipInfo(f"{folders[label]}/{drawn.number(i)}.png")  # of 1980, whenever it is written
                member.external_attr = 0o100644 << 16
                file.writestr(member, png_bytes(image))


MEMBERS = {"zip": ZipFolder()}
