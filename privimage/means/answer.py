"""The noisy means: one question to the sensitive set, and the estimate that its answer allows.

    S[y] = sum over images x with label y of [cos(a) phi(x), sin(a)]                       [labels, d + 1]
    S~ = S + N(0, sigma_m^2)                   one draw over the whole matrix              (private release)
    n^[y], M[y]                                number of images and mean of phi, from S~   (post-processing)

Adding or removing one image changes one row of S by a vector of norm sqrt(cos^2 |phi|^2 + sin^2) <= 1: the L2
sensitivity is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privimage.data.placed import placed
from privimage.data.sets import PrivateSet
from privimage.means.embedding import Vectors
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy

UNIT = 2**12  # a contribution of norm 1 in whole numbers: sums of them are exact, in any order
ANY = 1.0  # standard deviation of what labels have, in even shares, where hardly anything is known of it
LEAST = 0.1  # of an even share: what a label is taken to have at least, and how much labels are taken to differ


def weigh(d: int) -> tuple[float, float]:
    """(cos a, sin a): how much of a contribution is phi, and how much the count.

    The error of a mean S[y, :d] / n is that of d entries, and along the mean that of n. With a mean of norm 1/2 the sum
    of their squares is least at tan^2 a = 1 / (2 sqrt(d)).

    >>> [round(value, 3) for value in weigh(96)]
    [0.975, 0.22]
    """
    tan = (0.5 / d**0.5) ** 0.5
    cos = (1 + tan**2) ** -0.5
    return cos, tan * cos


def contributions(phi: NDArray[np.float32], unit: int = UNIT) -> NDArray[np.int64]:
    """Whole numbers [n, d + 1]: what every image adds to the row of its label; their norm is at most `unit`.

    phi is clipped once more and rounded towards 0, so that no rounding makes a contribution larger; not a number is 0.
    """
    cos, sin = weigh(phi.shape[1])
    exact = np.nan_to_num(phi.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    exact /= np.maximum(1.0, np.linalg.norm(exact, axis=1, keepdims=True))
    both = np.concatenate([exact * cos, np.full((len(phi), 1), sin)], axis=1)
    whole: NDArray[np.int64] = np.trunc(both * unit).astype(np.int64)
    return whole


def ask(
    phi: Callable[[NDArray[np.uint8]], Vectors],
    sensitive: PrivateSet,
    *,
    d: int,
    event: Event,
    entropy: Entropy,
    unit: int = UNIT,
) -> Release[NDArray[np.float64]]:
    """S~ [labels, d + 1], in which a contribution of norm 1 is `unit`, and the event it cost.

    `phi` takes ROWS images to phi of each: what an image adds follows from it alone.
    """
    sensitive.must_be(event.split)
    S = np.zeros((len(sensitive.classes), d + 1), np.int64)
    for batch in placed(sensitive):
        np.add.at(S, sensitive.y[batch.index], contributions(phi(batch.x), unit)[batch.row])
    noisy = event.perturb(S, sensitivity=unit, stream=entropy.stream("means"))
    return Release(value=noisy, events=(event,))


@dataclass(frozen=True, kw_only=True)
class Means:
    """Of every label: the mean of phi `M` [labels, d], the standard deviation of the noise in each of its entries
    [labels], and the number of images `n` [labels]."""

    M: NDArray[np.float64]
    noise: NDArray[np.float64]
    n: NDArray[np.float64]


def counted(seen: NDArray[np.float64], *, noise: float, even: float, apart: float = ANY) -> NDArray[np.float64]:
    """What counts `seen` with so much noise are taken for, if labels differ from the `even` share by `apart` of it."""
    variance = (max(apart, LEAST) * even) ** 2
    return np.maximum(even + variance / (variance + noise**2) * (seen - even), LEAST * even)


def estimate(
    answer: NDArray[np.float64], *, sigma: float, n: int, unit: int = UNIT, apart: float | None = None
) -> Means:
    """What S~ tells, with `n` images of all labels together (which is public).

    A count that its own noise hides counts little beside an even share of n; none is taken below LEAST of that. `apart`
    is the standard deviation of what labels have, in even shares; None: what the counts themselves tell of it, at most
    ANY.
    """
    cos, sin = weigh(answer.shape[1] - 1)
    even, noise, seen = n / len(answer), sigma / sin, answer[:, -1] / (unit * sin)
    if apart is None:
        seen = seen - seen.mean() + even
        spread = seen.var(ddof=1) - noise**2 if len(seen) > 1 else 0.0
        apart = min(ANY, max(float(spread), 0.0) ** 0.5 / even)
    counts = counted(seen, noise=noise, even=even, apart=apart)
    M = answer[:, :-1] / (unit * cos) / counts[:, None]
    return Means(M=M, noise=sigma / cos / counts, n=counts)
