"""Prior: what public classes let expect of the mean of phi of a label, before it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from privimage.means.embedding import Vectors

LEAST = 1e-12  # of a variance


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Of phi of public images, by direction [d]: the mean `m`, variances `between` classes (lambda) and `within` them.

    `apart` (tau) is the mean square of what a class differs by from the one nearest to it, at most lambda. `classes`
    [C, d] are the means of the classes, of which there is at least one.
    """

    m: NDArray[np.float64]
    between: NDArray[np.float64]
    within: NDArray[np.float64]
    apart: NDArray[np.float64]
    classes: NDArray[np.float64]

    @staticmethod
    def of(phi: Vectors, y: NDArray[np.int64]) -> Prior:
        """That of images with phi [n, d] of public classes [n]."""
        _, y, n = np.unique(y, return_inverse=True, return_counts=True)
        sums = np.zeros((len(n), phi.shape[1]))
        np.add.at(sums, y, phi)
        means = sums / n[:, None]
        within = (
            np.einsum("ij,ij->j", phi, phi, dtype=np.float64) - (n[:, None] * np.square(means)).sum(axis=0)
        ) / len(y)
        within, between = within.clip(LEAST), means.var(axis=0).clip(LEAST)
        return Prior(
            m=sums.sum(axis=0) / len(y),
            between=between,
            within=within,
            apart=_apart(means, within).clip(LEAST, between),
            classes=means,
        )


def _apart(classes: NDArray[np.float64], within: NDArray[np.float64]) -> NDArray[np.float64]:
    """tau [d] of the means of classes [C, d]; the nearest is so in units of the spread within classes. 0 of one."""
    if len(classes) < 2:
        return np.zeros(classes.shape[1])
    distance = cdist(classes, classes, "seuclidean", V=within)
    np.fill_diagonal(distance, np.inf)
    found: NDArray[np.float64] = np.square(classes - classes[distance.argmin(axis=1)]).mean(axis=0)
    return found
