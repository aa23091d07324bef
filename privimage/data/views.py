"""Views: public images and variations of them, of which a synthetic set is chosen. All of it follows from seeds.

View 0 is the images as they are. Every other view changes each of them, in the ways of its kind by turns.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.data.augment import VARY
from privimage.data.pool import PoolConfig, Vary
from privimage.data.sets import Chosen, PublicSet
from privimage.data.sources import source
from privimage.disk import on_disk

BLOCK = 1000  # images whose variations are drawn together


@dataclass(frozen=True, kw_only=True)
class Views:
    """`count` views of the public images, end to end: place v * len(public) + i is view v of image i."""

    public: PublicSet
    count: int
    kind: Vary

    @staticmethod
    def of(public: PublicSet, pool: PoolConfig) -> Views:
        """Those that a file asks for."""
        return Views(public=public, count=pool.views, kind=pool.kind(public.shape[0]))

    def __len__(self) -> int:
        return self.count * len(self.public)

    def each_block(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """All of them in order, in blocks uint8 [at most `size`, C, H, W]."""
        for view in range(self.count):
            for start in range(0, len(self.public), BLOCK):
                block = self._block(view, start)
                yield from (block[i : i + size] for i in range(0, len(block), size))

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images of these places, uint8 [len(index), C, H, W]."""
        out = np.empty((len(index), *self.public.shape), np.uint8)
        view, image = np.divmod(index, len(self.public))
        block = image // BLOCK
        for v, b in np.unique(np.stack([view, block]), axis=1).T:
            here = (view == v) & (block == b)
            out[here] = self._block(int(v), int(b) * BLOCK)[image[here] - b * BLOCK]
        return out

    def held(self, index: NDArray[np.int64]) -> Chosen:
        """Those of these places, for whoever asks for all of them again and again: each is made once."""
        places, place = np.unique(index, return_inverse=True)
        return Chosen(of=Held(views=self, places=places), index=place)

    def _block(self, view: int, start: int) -> NDArray[np.uint8]:
        x = self.public.rows(np.arange(start, min(start + BLOCK, len(self.public))))
        if view == 0:
            return x
        seed = np.random.SeedSequence((view, start)).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        vary = VARY[self.kind]
        varied = vary[(view - 1) % len(vary)](torch.from_numpy(x).float() / 255, rng=rng)
        return (varied * 255).round().clamp(0, 255).to(torch.uint8).numpy()


@dataclass(frozen=True, kw_only=True)
class Held:
    """Pictures: the views of these places. All are made when the first is asked for, and held.

    What is LARGE is held in a file without a name, which the system takes back when the process ends.
    """

    views: Views
    places: NDArray[np.int64]

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See Pictures."""
        return self._made[index]

    @cached_property
    def _made(self) -> NDArray[np.uint8]:
        shape = (len(self.places), *self.views.public.shape)
        if math.prod(shape) <= source.LARGE:
            return self.views.rows(self.places)
        with on_disk(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
            for start in range(0, len(self.places), BLOCK):
                file.write(self.views.rows(self.places[start : start + BLOCK]).tobytes())
            file.flush()
            return np.asarray(np.memmap(file, np.uint8, mode="r", shape=shape))
