"""Draft: images that are being drawn for an output, in a hidden folder beside it, so that a killed command goes on.

    .NAME.unfinished/begun.json       what was asked for; and, once all is written, that it is being moved to its place
    .NAME.unfinished/000007.npy       a block of images, whole
    .NAME.unfinished/made/            the output, until it is moved

Whatever moment it is killed at, the same command ends with the same bytes: a block is there whole or not at all, the
output is made anew of all blocks, and moved only then.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privimage.analysis.outputs.output import ImageBlocks, Output
from privimage.disk import exclusive, make_folder, refusal, sync, write, write_whole
from privimage.errors import InputError
from privimage.plain_json import read_json
from privimage.progress import Tell

BEGUN, MADE = "begun.json", "made"
Asked = Mapping[str, str | int]  # what an output follows from, as it is said where it differs


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The folder of an output that becomes `names` beside it."""

    to: Path
    output: Output
    names: tuple[str, ...]
    folder: Path

    def block(self, number: int) -> Path:
        """The file of a block."""
        return self.folder / f"{number:06d}.npy"

    def keep(self, number: int, x: NDArray[np.uint8]) -> None:
        """Write a block, so that it is there whole or not at all."""
        part = self.folder / "block.part"
        raw = io.BytesIO()  # numpy does not see that the disk is full where it writes into a file itself
        np.save(raw, x)
        write(part, raw.getvalue())
        os.replace(part, self.block(number))

    def kept(self, number: int) -> NDArray[np.uint8]:
        """A block as it was written. Raises InputError if it is damaged."""
        try:
            x: NDArray[np.uint8] = np.load(self.block(number), allow_pickle=False)
        except (ValueError, EOFError):
            raise InputError(f"{self.block(number)}: damaged; remove it, and run the same command again") from None
        return x

    def has(self, number: int, shape: tuple[int, ...]) -> bool:
        """Whether a block is there, of images uint8 of this shape. Raises InputError if it is damaged."""
        if not self.block(number).exists():
            return False
        x = self.kept(number)
        return x.dtype == np.uint8 and x.shape == shape

    @property
    def _begun(self) -> dict[str, str | int]:
        """What it was begun with; nothing if it is new. Raises InputError if that cannot be read."""
        path = self.folder / BEGUN
        if not path.exists():
            return {}
        try:
            found: dict[str, str | int] = dict(read_json(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise InputError(f"{path}: damaged; remove {self.folder}, and run the same command again") from None
        return found

    def begin(self, asked: Asked) -> bool:
        """Whether nothing is left but to `move`. Raises InputError if something is in the way, or other was begun."""
        begun = self._begun
        moving = bool(begun.pop("moving", False))
        for key in sorted(begun.keys() | asked.keys()) if begun else ():
            if begun.get(key) != asked.get(key):
                raise InputError(
                    f"{self.to}: was begun with {key} {begun.get(key)!s:.60}, not {asked.get(key)!s:.60}; go on with "
                    f"that, or remove {self.folder}"
                )
        if moving:
            return True
        for name in self.names:
            self._must_be_free(self.to.with_name(name))
        if not begun:
            write_whole(self.folder / BEGUN, json.dumps(dict(asked)))
        return False

    def make(self, drawn: ImageBlocks, tell: Tell) -> None:
        """Write the output, and say that it only has to be moved."""
        made = self.folder / MADE
        if made.exists():
            shutil.rmtree(made)
        made.mkdir()
        self.output.write(drawn, made, self.to.name, tell)
        os.sync()
        write_whole(self.folder / BEGUN, json.dumps(self._begun | {"moving": 1}))

    def move(self) -> list[Path]:
        """What is now in its place; the draft is gone."""
        places = [self.to.with_name(name) for name in self.names]
        for place in places:
            if os.path.lexists(self.folder / MADE / place.name):
                self._must_be_free(place)
                os.replace(self.folder / MADE / place.name, place)
        sync(self.to.parent)
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name == BEGUN):  # that last
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.folder.rmdir()
        return places

    def _must_be_free(self, place: Path) -> None:
        if self.output.taken(place):
            raise InputError(f"{place}: is there already; remove it, or name another")


@contextmanager
def drafted(to: Path, *, output: Output, n: int) -> Iterator[Draft]:
    """The draft of an output of n images, which this process alone has; folders above it are made if they are missing.

    Raises InputError in one line if another has it, if the disk is full, or if nothing may be written there.
    """
    folder = to.with_name(f".{to.name}.unfinished")
    try:
        make_folder(to.parent)
        with exclusive(to.with_name(f".{to.name}.lock"), wait=False) as alone:
            if not alone:
                raise InputError(f"{to}: another command is writing it; wait for its end")
            folder.mkdir(exist_ok=True)
            try:
                yield Draft(to=to, output=output, names=output.names(to.name, n), folder=folder)
            finally:
                with suppress(OSError):
                    folder.rmdir()  # if nothing was begun
    except OSError as error:
        raise refusal(error, to, "written") from None
