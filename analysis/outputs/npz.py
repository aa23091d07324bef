"""One .npz file of arrays x, y and classes, as the source `npz` reads it. It is packed block by block."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from privimage.analysis.outputs.output import ImageBlocks, Output, suffixed
from privimage.progress import Tell


class NpzFile(Output):
    """x uint8 [n, C, H, W], y the labels [n], classes their names."""

    form: ClassVar[str] = "images.npz"

    def fits(self, to: str) -> bool:
        """See Output."""
        return suffixed(to, ".npz")

    def write(self, drawn: ImageBlocks, into: Path, name: str, tell: Tell) -> None:
        """See Output."""
        head = {"descr": "|u1", "fortran_order": False, "shape": (len(drawn.y), *drawn.shape)}
        done = 0
        with zipfile.ZipFile(into / name, "w", zipfile.ZIP_DEFLATED) as file:
            with file.open("x.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, head)
                for block in drawn.blocks():
                    member.write(np.ascontiguousarray(block).data)
                    done += len(block)
                    tell(done, len(drawn.y))
            for key, array in (("y", drawn.y), ("classes", np.array(drawn.classes))):
                with file.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


MEMBERS = {"npz": NpzFile()}
