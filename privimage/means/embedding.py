"""Embedding: phi, which takes an image to the unit ball, from public data alone.

    z(x) = A' (f(x) - m)                       f public features, m their mean                     [D] -> [d]
    phi(x) = z min(1, C / |z|) / C             so |phi(x)| <= 1

A whitens what differs within a public class and keeps the d directions in which public classes differ most: one step of
noise is as long in all of them, and few of them tell labels apart. Several kinds of features lie side by side, each
with its share of the unit ball.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-3  # of the variance of each feature, added to it: combinations that hardly vary are not blown up
STILL = 1e-6  # a feature that varies by less than this share of the others is left out
MOST = 1e15  # what a feature is cut to, so that its square is a float32
ALIKE = 1e-3  # how far apart features of two machines may be, as a share of the largest
CLIPPED = 0.75  # share of the public images that are brought to the unit sphere

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


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """phi of an image: for every kind of features its whitening, cut to few directions, and the norm `C` of its clip.

    All kinds have an even share of the unit ball. `probe` is what was seen in the first public images, of every kind:
    whoever reads an answer must see the same in them.
    """

    whitenings: tuple[Whitening, ...]
    C: tuple[float, ...]
    probe: tuple[Vectors, ...]

    @staticmethod
    def fit(
        whitenings: Sequence[Whitening], z: Sequence[Vectors], *, d: Sequence[int], probe: Sequence[Vectors]
    ) -> Embedding:
        """With the first `d` directions of each, clipped where CLIPPED of the public images, `z` of each, are."""
        cut = tuple(Whitening(m=w.m, A=w.A[:, :k]) for w, k in zip(whitenings, d, strict=True))
        norms = (np.linalg.norm(public[:, :k], axis=1) for public, k in zip(z, d, strict=True))
        C = tuple(float(np.quantile(norm, 1 - CLIPPED)) for norm in norms)
        return Embedding(whitenings=cut, C=C, probe=tuple(probe))

    def sees(self, probe: Sequence[Vectors]) -> bool:
        """Whether what is seen in the first public images is what it was fitted on, up to rounding."""
        return all(
            new.shape == old.shape and np.allclose(new, old, rtol=0, atol=ALIKE * np.abs(old).max())
            for new, old in zip(probe, self.probe, strict=True)
        )

    @property
    def d(self) -> tuple[int, ...]:
        """The number of directions of every kind."""
        return tuple(w.A.shape[1] for w in self.whitenings)

    def __call__(self, features: Sequence[Vectors]) -> Vectors:
        """phi float32 [n, d] of features [n, D] of every kind, |phi| <= 1 but for rounding."""
        return self.of([w(f) for w, f in zip(self.whitenings, features, strict=True)])

    def of(self, z: Sequence[Vectors]) -> Vectors:
        """The same of z [n, at least d] of every kind."""
        parts, share = [], np.float32(len(z) ** -0.5)
        for values, k, C in zip(z, self.d, self.C, strict=True):
            norm = np.linalg.norm(values[:, :k], axis=1, keepdims=True)
            parts.append(values[:, :k] * (share / np.maximum(norm, np.float32(C))))
        return np.concatenate(parts, axis=1)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The same as named arrays, for a store."""
        own = {f"{name}{i}": getattr(w, name) for i, w in enumerate(self.whitenings) for name in ("m", "A")}
        return {**own, **{f"probe{i}": seen for i, seen in enumerate(self.probe)}, "C": np.array(self.C)}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Embedding:
        """What `arrays` wrote."""
        C = tuple(map(float, arrays["C"]))
        whitenings = tuple(Whitening(m=arrays[f"m{i}"], A=arrays[f"A{i}"]) for i in range(len(C)))
        return Embedding(whitenings=whitenings, C=C, probe=tuple(arrays[f"probe{i}"] for i in range(len(C))))
