"""Public features of images: what a network sees in them, and their low frequencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.generators.codec import dct_basis
from privimage.means.config import BLOCK
from privimage.means.embedding import Vectors
from privimage.metrics.efficientnet import NAME
from privimage.metrics.features import features
from privimage.semantics import QueryFunction

FREQUENCIES = {1: 9, 3: 5}  # a side, by channels: the triangle of the lowest is taken

Extract = Callable[[NDArray[np.uint8]], tuple[Vectors, Vectors]]  # images -> features of both kinds


def extractor(function: QueryFunction | None, *, device: torch.device) -> Extract:
    """What takes images uint8 [n, C, H, W] to features [n, D] of both kinds: last ones of a network, low frequencies.

    The network is the query function, or efficientnet-lite0 where there is none.
    """
    network = partial(features, network=NAME, device=device, batch=100) if function is None else function.seen
    return lambda x: (network(x), low_frequencies(x))


def filled(blocks: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Every block of at most BLOCK images with blank ones up to BLOCK, and how many are real.

    Networks see blocks of one size alone.
    """
    for x in blocks:
        yield np.concatenate([x, np.zeros((BLOCK - len(x), *x.shape[1:]), np.uint8)]), len(x)


def low_frequencies(x: NDArray[np.uint8]) -> Vectors:
    """The lowest DCT coefficients float32 [n, D] of images uint8 [n, C, H, W]: where there is light, of what colour."""
    k = min(FREQUENCIES[x.shape[1]], *x.shape[2:])
    rows, columns = (dct_basis(k, n).numpy() for n in x.shape[2:])
    low = np.add.outer(np.arange(k), np.arange(k)) < k
    z: Vectors = (rows @ (x.astype(np.float32) / 255) @ columns.T)[..., low]
    return z.reshape(len(x), -1)
