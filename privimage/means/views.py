"""Views: public images and variations of them, of which a synthetic set is chosen. All of it follows from seeds.

View 0 is the images as they are. Every other view changes each of them a little, in the way of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from privimage import semantics
from privimage.data.sets import PublicSet
from privimage.means.config import Vary

BLOCK = 1000  # images whose variations are drawn together


def photo(x: Tensor, *, rng: torch.Generator) -> Tensor:
    """Images [B, C, H, W] in [0, 1]: half of them mirrored; a little larger, moved, turned, lighter or darker."""
    B = len(x)

    def spread(*shape: int) -> Tensor:  # uniform in [-1/2, 1/2)
        return (torch.rand(*shape, generator=rng) - 0.5).to(x.device)

    turn, zoom = spread(B) * 0.2, 1 + spread(B) * 0.2
    mirror = torch.where(spread(B) < 0, -1.0, 1.0)
    affine = torch.zeros(B, 2, 3, device=x.device)
    affine[:, 0, 0], affine[:, 0, 1] = turn.cos() * zoom * mirror, -turn.sin()
    affine[:, 1, 0], affine[:, 1, 1] = turn.sin() * mirror, turn.cos() * zoom
    affine[:, :, 2] = spread(B, 2) * 0.2
    field = functional.affine_grid(affine, list(x.shape), align_corners=False)
    x = functional.grid_sample(x, field, align_corners=False, padding_mode="reflection")
    gain, shift = 1 + spread(B, 1, 1, 1) * 0.3, spread(B, 1, 1, 1) * 0.15
    return ((x - 0.5) * gain + 0.5 + shift).clamp(0, 1)


VARY: dict[Vary, Callable[..., Tensor]] = {"strokes": semantics.augment, "photo": photo}


@dataclass(frozen=True, kw_only=True)
class Views:
    """`count` views of the public images, end to end: place v * len(public) + i is view v of image i."""

    public: PublicSet
    count: int
    kind: Vary

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

    def _block(self, view: int, start: int) -> NDArray[np.uint8]:
        x = self.public.rows(np.arange(start, min(start + BLOCK, len(self.public))))
        if view == 0:
            return x
        seed = np.random.SeedSequence((view, start)).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        varied = VARY[self.kind](torch.from_numpy(x).float() / 255, rng=rng)
        return (varied * 255).round().clamp(0, 255).to(torch.uint8).numpy()
