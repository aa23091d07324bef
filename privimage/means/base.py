"""Base: the weights that a tilt begins with, where the noisy histogram was asked too.

    b_i = (1 - e) sum over c of S~[y, c] / sum over told classes / n_c  +  e / n       image i of classes c, each of n_c

Told are the classes whose count stands above the largest that noise alone makes of so many; e is left for all images
alike, as means may ask for others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EVEN = 0.1  # e, the share of the weight that all images have alike


def base_weights(
    S: NDArray[np.float64], image: NDArray[np.int64], label: NDArray[np.int64], *, noise: float, views: int
) -> NDArray[np.float64]:
    """[views * n], which sum to 1: of n public images, and of variations of them, end to end.

    `image` in 0 .. n-1 has the class `label`, one pair for every class that an image has (see `semantics_of`).

    `S` [public classes] is the row of a label in the noisy histogram, `noise` the standard deviation in its entries. A
    label of which no class stands out begins with even weights.
    """
    n = int(image[-1]) + 1
    most = noise * np.sqrt(2 * np.log(len(S)))  # about the largest of so many counts of nothing
    told = np.where(most < S, S, 0.0)
    share = told / np.maximum(told.sum(), 1e-30)
    each = share / np.maximum(1, np.bincount(label, minlength=len(S)))
    own = np.bincount(image, weights=each[label], minlength=n)
    e = EVEN if told.any() else 1.0
    return np.tile((1 - e) * own + e / n, views) / views
