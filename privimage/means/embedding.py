"""Embedding: phi, which takes an image to the unit ball, from public data alone.

    z(x) = A' (f(x) - m)                       f public features, m their mean                     [D] -> [d]
    phi_b(x) = s_b z_b / max(C_b, |z_b|)       of every block b of directions; sum of s_b^2 = 1, so |phi(x)| <= 1

A whitens what differs within a public class and keeps the d directions in which public classes differ most, by falling
difference. Blocks of them, each as large as all before it, are clipped apart and have falling shares of the unit ball:
so the first directions, which tell most, cost no more noise where many follow, and phi does not depend on a budget.
Several kinds of features lie side by side, with even shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-3  # of the variance of each feature, added to it: combinations that hardly vary are not blown up
STILL = 1e-6  # a feature that varies by less than this share of the others is left out
MOST = 1e15  # what a feature is cut to, so that its square is a float32
ALIKE = 1e-3  # how far apart features of two machines may be, as a share of the largest
CLIPPED = 0.75  # share of the public images that every block clips
LESS = 0.5**0.5  # share of a block in s^2, as a multiple of that of the block before

Vectors = NDArray[np.float32]  # [n, D]


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """z of one kind of features: `m` [D] and `A` [D, d], whose columns come by falling difference of classes."""

    m: NDArray[np.float32]
    A: NDArray[np.float32]

    def __call__(self, f: Vectors) -> Vectors:
        """z float32 [n, d] of features [n, D]; 0 where a feature is not finite."""
        finite = np.isfinite(f).all(axis=1, keepdims=True)
        z: Vectors = (np.where(finite, f, self.m).clip(-MOST, MOST) - self.m) @ self.A
        return z


def whiten(f: Vectors, y: NDArray[np.int64], *, d: int) -> Whitening:
    """The whitening of public features [n, D] of public classes [n], with at most `d` directions."""
    classes, y = np.unique(y, return_inverse=True)
    means = np.zeros((len(classes), f.shape[1]), np.float64)
    np.add.at(means, y, f)
    means /= np.bincount(y)[:, None]
    residual = f - means[y]
    deviation = residual.std(axis=0)
    scale = np.where(deviation > STILL * deviation.max(), 1 / np.maximum(deviation, 1e-30), 0)
    within = (residual * scale).T @ (residual * scale) / len(f) + RIDGE * np.eye(f.shape[1])
    variance, U = np.linalg.eigh(within)
    white = scale[:, None] * (U / np.sqrt(variance) @ U.T)
    m = f.mean(axis=0, dtype=np.float64)
    _, V = np.linalg.eigh(np.cov(((means - m) @ white).T))
    A = white @ V[:, ::-1][:, : min(d, len(classes) - 1)]
    return Whitening(m=m.astype(np.float32), A=A.astype(np.float32))


def edges(d: int, *, first: int) -> list[int]:
    """Where blocks of `d` directions begin, and d: the first of `first`, each other as large as all before it.

    >>> edges(128, first=16), edges(20, first=16), edges(5, first=16)
    ([0, 16, 32, 64, 128], [0, 20], [0, 5])
    """
    found = [0]
    while 2 * first <= d:
        found.append(first)
        first *= 2
    return [*found, d]


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """phi of an image: for every kind of features its whitening, the edges of its blocks, and their norms of clipping.

    `probe` is what was seen in the first public images, of every kind: whoever reads an answer must see the same in
    them.
    """

    whitenings: tuple[Whitening, ...]
    edges: tuple[tuple[int, ...], ...]
    C: tuple[tuple[float, ...], ...]
    probe: tuple[Vectors, ...]

    @staticmethod
    def fit(
        whitenings: Sequence[Whitening], z: Sequence[Vectors], *, first: Sequence[int], probe: Sequence[Vectors]
    ) -> Embedding:
        """With blocks that begin with the `first` directions, clipped where CLIPPED of the public images are.

        `z` [n, d] are these images, of every kind.
        """
        cut = tuple(tuple(edges(w.A.shape[1], first=k)) for w, k in zip(whitenings, first, strict=True))
        C = tuple(
            tuple(float(np.quantile(np.linalg.norm(public[:, a:b], axis=1), 1 - CLIPPED)) for a, b in pairwise(here))
            for public, here in zip(z, cut, strict=True)
        )
        return Embedding(whitenings=tuple(whitenings), edges=cut, C=C, probe=tuple(probe))

    def sees(self, probe: Sequence[Vectors]) -> bool:
        """Whether what is seen in the first public images is what it was fitted on, up to rounding."""
        return all(
            new.shape == old.shape and np.allclose(new, old, rtol=0, atol=ALIKE * np.abs(old).max())
            for new, old in zip(probe, self.probe, strict=True)
        )

    @property
    def d(self) -> int:
        """The number of directions."""
        return sum(w.A.shape[1] for w in self.whitenings)

    def __call__(self, features: Sequence[Vectors]) -> Vectors:
        """phi float32 [n, d] of features [n, D] of every kind, |phi| <= 1 but for rounding."""
        return self.of([w(f) for w, f in zip(self.whitenings, features, strict=True)])

    def of(self, z: Sequence[Vectors]) -> Vectors:
        """The same of z [n, d] of every kind."""
        parts = []
        for values, cut, norms in zip(z, self.edges, self.C, strict=True):
            shares = LESS ** np.arange(len(norms))
            s = np.sqrt(shares / shares.sum() / len(z)).astype(np.float32)
            for (a, b), C, share in zip(pairwise(cut), norms, s, strict=True):
                norm = np.linalg.norm(values[:, a:b], axis=1, keepdims=True)
                parts.append(values[:, a:b] * (share / np.maximum(norm, np.float32(C))))
        return np.concatenate(parts, axis=1)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The same as named arrays, for a store."""
        own: dict[str, NDArray[Any]] = {}
        for i, (w, cut, C, seen) in enumerate(zip(self.whitenings, self.edges, self.C, self.probe, strict=True)):
            own |= {f"m{i}": w.m, f"A{i}": w.A, f"edges{i}": np.array(cut), f"C{i}": np.array(C), f"probe{i}": seen}
        return own

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Embedding:
        """What `arrays` wrote."""
        kinds = range(sum(name.startswith("probe") for name in arrays))
        return Embedding(
            whitenings=tuple(Whitening(m=arrays[f"m{i}"], A=arrays[f"A{i}"]) for i in kinds),
            edges=tuple(tuple(map(int, arrays[f"edges{i}"])) for i in kinds),
            C=tuple(tuple(map(float, arrays[f"C{i}"])) for i in kinds),
            probe=tuple(arrays[f"probe{i}"] for i in kinds),
        )
