"""Nearest: how near synthetic images are to the public images that their generator was trained on.

The distance of two images is the root mean square difference of their pixels in [0, 1]. The search looks at every
public image and is exact: products are of integers that float32 holds, so the answer is the same on every machine.
All of it follows from the synthetic images and from public ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.data.sets import Chosen, Pictures
from privimage.progress import Tell

LABELS, SHOWN = 20, 8  # labels, and samples of each, of which the nearest public image is kept
COUNTED = 500  # samples that the numbers are over, as many of every label; and public images that are their scale
BLOCK = 2048  # public images at a time
EXACT = 1024  # pixels: so many products of two numbers in -128 .. 127 add up to 2^24 at most


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The different public images, at places 0 .. n-1 of `pictures`, of which each was chosen for some labels.

    `place` [m] and `label` [m] are the pairs of an image and a label that it was chosen for, by rising place; `weight`
    [n] is that of an image in training.
    """

    pictures: Pictures
    place: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]

    @staticmethod
    def of(x: Pictures, label: NDArray[np.int64], weight: NDArray[np.float64] | None) -> Candidates:
        """Those among `x` at places 0 .. m-1, with the label and the weight (None: even) of each place."""
        at = x.index if isinstance(x, Chosen) else np.arange(len(label))  # an image may have been chosen several times
        images, place = np.unique(at, return_inverse=True)
        order, weight = np.argsort(place, kind="stable"), np.ones(len(at)) if weight is None else weight
        return Candidates(
            pictures=Chosen(of=x.of if isinstance(x, Chosen) else x, index=images),
            place=place[order],
            label=label[order],
            weight=np.bincount(place, weights=weight).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.weight)

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Their places, BLOCK at a time."""
        return (np.arange(start, min(start + BLOCK, len(self))) for start in range(0, len(self), BLOCK))

    def chosen_for(self, y: NDArray[np.int64], block: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the images of a block were chosen for these labels: [len(y), len(block)]."""
        here = slice(*np.searchsorted(self.place, (block[0], block[-1] + 1)))
        labels = np.zeros((1 + max(y.max(), self.label.max()), len(block)), bool)
        labels[self.label[here], self.place[here] - block[0]] = True
        return labels[y]

    def drawn(self) -> NDArray[np.int64]:
        """Places of at most COUNTED of them: those that training saw most are the likeliest."""
        p = self.weight / self.weight.sum()
        size = min(COUNTED, int(np.count_nonzero(p)))
        return np.random.default_rng(0).choice(len(self), size, replace=False, p=p).astype(np.int64)


def arrays_of(
    x: NDArray[np.uint8], y: NDArray[np.int64], candidates: Candidates, *, device: torch.device, progress: Tell
) -> dict[str, NDArray[Any]]:
    """What is found of synthetic images `x` uint8 [n, C, H, W] with labels `y`, as named arrays.

    `sample` [q] are places of synthetic images, `distance` [q] how far the nearest public image is, `other` [q] whether
    that was chosen for other labels only. The numbers are over those with `counted` [q]; `nearest` uint8 [s, C, H, W]
    are the public images of those with `shown` [q], in their order. `scale` [at most COUNTED] are distances of public
    images to the nearest other one that is not the same to the bit.
    """
    counted, shown = _asked(y)
    sample, drawn = np.flatnonzero(counted | shown), candidates.drawn()
    asked = _pixels(x[sample], device)
    public = _pixels(candidates.pictures.rows(drawn), device)
    found, apart = _Least.of(len(sample), device), _Least.of(len(drawn), device)
    own = _Least.of(len(sample), device)
    for block in candidates.blocks():
        pixels = _pixels(candidates.pictures.rows(block), device)
        chosen = torch.from_numpy(candidates.chosen_for(y[sample], block)).to(device)
        squares = _squares(asked, pixels)
        found.see(squares, block[0])
        own.see(squares.masked_fill(~chosen, torch.inf), block[0])
        squares = _squares(public, pixels)
        apart.see(squares.masked_fill(squares == 0, torch.inf), block[0])
        progress(int(block[-1]) + 1, len(candidates))
    scale = apart.distances(asked.shape[1])
    return {
        "sample": sample,
        "distance": found.distances(asked.shape[1]),
        "other": (own.square > found.square).cpu().numpy(),
        "counted": counted[sample],
        "shown": shown[sample],
        "nearest": candidates.pictures.rows(found.place.cpu().numpy()[shown[sample]]),
        "scale": scale[np.isfinite(scale)],
    }


def _asked(y: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples [n] the numbers are over, and which are shown: the first ones of each label."""
    labels = np.unique(y)
    rank = np.empty(len(y), np.int64)  # of a sample among those of its label
    for label in labels:
        rank[y == label] = np.arange((y == label).sum())
    counted = rank < max(1, COUNTED // len(labels))
    return counted & (np.cumsum(counted) <= COUNTED), (rank < SHOWN) & np.isin(y, labels[:LABELS])


def _pixels(x: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Pixels -128 .. 127 as float32 [n, pixels]."""
    return torch.from_numpy(x.reshape(len(x), -1)).to(device).float() - 128


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances float64 [len(a), len(b)] of pixels, exact: all numbers on the way are integers that fit."""
    out = a.square().sum(1, dtype=torch.float64)[:, None] + b.square().sum(1, dtype=torch.float64)
    for start in range(0, a.shape[1], EXACT):
        out -= 2 * (a[:, start : start + EXACT] @ b[:, start : start + EXACT].T).double()
    return out


@dataclass(kw_only=True)
class _Least:
    """The least squared distance so far of every image [n], and the place of the public image that has it."""

    square: Tensor
    place: Tensor

    @staticmethod
    def of(n: int, device: torch.device) -> _Least:
        return _Least(
            square=torch.full((n,), torch.inf, dtype=torch.float64, device=device),
            place=torch.zeros(n, dtype=torch.int64, device=device),
        )

    def see(self, squares: Tensor, start: int) -> None:
        """Those [n, block] of the public images at places from `start`."""
        least, at = squares.min(dim=1)
        self.place = torch.where(least < self.square, at + int(start), self.place)
        self.square = torch.minimum(least, self.square)

    def distances(self, pixels: int) -> NDArray[np.float64]:
        """Root mean square differences [n] of so many pixels in [0, 1]."""
        found: NDArray[np.float64] = (self.square / pixels).sqrt().cpu().numpy() / 255
        return found
