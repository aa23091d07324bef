"""WebDataset shards: tar files of a PNG and a .cls with the number of its label an image, as the source `webdataset`
reads them."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import ClassVar

from privimage.analysis.outputs.output import ImageBlocks, Output, suffixed
from privimage.analysis.outputs.png import png_bytes
from privimage.progress import Tell

SHARD = 10_000  # images
NUMBER = re.compile(r"%(0\d)?d")  # where the number of a shard stands, as in the package webdataset


class Tar(Output):
    """One tar file, or where its name holds %06d as many as there have to be."""

    form: ClassVar[str] = "shards/images-%06d.tar"

    def fits(self, to: str) -> bool:
        """See Output."""
        return suffixed(to, ".tar")

    def refuses(self, name: str, counts: Mapping[int, int]) -> str | None:
        """See Output: the name says where the number stands, or that there is none."""
        if "%" in name and (name.count("%") > 1 or not NUMBER.search(name)):
            return "expected one %06d, where the number of a shard stands, e.g. images-%06d.tar"
        return None

    def names(self, name: str, n: int) -> tuple[str, ...]:
        """See Output."""
        return tuple(name % i for i in range(-(-n // SHARD))) if "%" in name else (name,)

    def write(self, drawn: ImageBlocks, into: Path, name: str, tell: Tell) -> None:
        """See Output."""
        images, n = drawn.each(tell), len(drawn.y)
        names = self.names(name, n)
        for shard in names:
            with tarfile.open(into / shard, "w", format=tarfile.USTAR_FORMAT) as file:
                for i, image, label in islice(images, n if len(names) == 1 else SHARD):
                    for suffix, raw in (("png", png_bytes(image)), ("cls", str(label).encode())):
                        member = tarfile.TarInfo(f"{drawn.number(i)}.{suffix}")  # of 1970, and nobody's
                        member.size = len(raw)
                        file.addfile(member, io.BytesIO(raw))


MEMBERS = {"webdataset": Tar()}
