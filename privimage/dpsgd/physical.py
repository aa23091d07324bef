"""Physical batches: what of a logical batch is in memory at once, all of one size but the last.

Where a device does the same work again and again, also the last is of that size: what is short is filled up with
examples that do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from privimage.dpsgd.batch import Batch

RARELY = 3  # standard deviations of the size of a Poisson batch


def physical_size(*, expected: float, most: int) -> int:
    """How many examples a physical batch has: as few as do for a logical one of its usual size, at most `most`.

    >>> physical_size(expected=64, most=512), physical_size(expected=900, most=512)
    (88, 495)
    """
    usual = expected + RARELY * math.sqrt(expected)
    return min(most, math.ceil(usual / math.ceil(usual / most)))


def physical_batches(blocks: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The examples of all blocks in their order, `size` at a time; the last batch has what is left.

    Of the blocks no more are asked for than the next batch needs.
    """
    held: list[Batch] = []
    for block in blocks:
        held.append(block)
        if sum(part.shape[0] for part in held) >= size:
            *whole, last = Batch.joined(held).split(size)
            yield from whole
            held = [last]
    if held:
        yield from Batch.joined(held).split(size)


def filled(batch: Batch, size: int) -> tuple[Batch, Tensor]:
    """The batch with `size` examples, and which of them count: copies of the first stand where there is none."""
    n, device = batch.shape[0], batch.each[0].device
    counted = torch.arange(size, device=device) < n
    if n == size:
        return batch, counted
    return batch.map(lambda t: torch.cat([t, t[:1].expand(size - n, *t.shape[1:])])), counted
