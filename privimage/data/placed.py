"""Placed: what is computed of an image follows from that image alone, to the last bit.

A kernel may round an image differently in another row of a batch, and in a batch of another size. Where images stand in
their order, one image less moves all behind it into other rows: what hangs on a last bit, a vote or a right answer, may
change for all of them, and the sum over images by more than one image's share. So here batches are of one size, filled
up with blank images, and an image stands in the row that its own pixels say; copies of it are looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privimage.data.sets import Images, digests_of

ROWS = 100  # images of a batch: where there are more, fewer rows are left blank


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Images `x` uint8 [ROWS, C, H, W], blank where there is none, and of which places `index` [m] in their set.

    `row` [m] is where each of these stands.
    """

    x: NDArray[np.uint8]
    index: NDArray[np.int64]
    row: NDArray[np.int64]


def placed(images: Images) -> Iterator[Placed]:
    """Batches in which every image, or an equal one in its place, stands once; read about in the order of the set."""
    if len(images) == 0:
        return
    digests = digests_of(images).view(np.dtype((np.void, 32))).ravel()
    _, first, copy_of = np.unique(digests, return_index=True, return_inverse=True)
    row = np.ascontiguousarray(digests[first]).view(np.uint64)[::4] % ROWS
    number = _number(row, first)
    order = np.argsort(number[copy_of], kind="stable")
    for index in np.split(order, np.cumsum(np.bincount(number[copy_of]))[:-1]):
        one = np.unique(copy_of[index])
        x = np.zeros((ROWS, *images.shape), np.uint8)
        x[row[one]] = images.rows(first[one])
        yield Placed(x=x, index=index, row=row[copy_of[index]].astype(np.int64))


def _number(row: NDArray[np.uint64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """In which batch [n] each image stands: of those that want a row, one in each, in the order of the set."""
    order = np.lexsort((first, row))
    begin = np.searchsorted(row[order], row[order], side="left")
    number = np.empty(len(row), np.int64)
    number[order] = np.arange(len(row)) - begin
    return number
