"""A folder of one PNG an image, in a directory a class, as the source `folder` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from privimage.analysis.outputs.output import ImageBlocks, Output
from privimage.analysis.outputs.png import directories, png_bytes
from privimage.progress import Tell


class ImageFolder(Output):
    """A path that ends in / or has no suffix; a new folder, or an empty one."""

    form: ClassVar[str] = "folder/"

    def fits(self, to: str) -> bool:
        """See Output."""
        return to.endswith("/") or not Path(to).suffix

    def taken(self, path: Path) -> bool:
        """See Output."""
        return super().taken(path) and not (path.is_dir() and not path.is_symlink() and not any(path.iterdir()))

    def write(self, drawn: ImageBlocks, into: Path, name: str, tell: Tell) -> None:
        """See Output."""
        folders = [into / name / directory for directory in directories(drawn.classes)]
        for label in sorted(set(drawn.y.tolist())):
            folders[label].mkdir(parents=True)
        for i, image, label in drawn.each(tell):
            (folders[label] / f"{drawn.number(i)}.png").write_bytes(png_bytes(image))


MEMBERS = {"folder": ImageFolder()}
