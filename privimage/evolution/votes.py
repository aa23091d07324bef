"""Votes: in every round each sensitive image names the candidate of its label that is nearest to it.

    H[y, c] = number of images with label y whose nearest candidate is c
    H~ = H + N(0, sigma^2)                one draw over the whole matrix [labels, candidates], on a grid    (released)

Adding or removing one image changes one entry by 1: the L2 sensitivity is 1 in every round. What is proposed in a round
follows from noisy votes of rounds before it and from public data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privimage.data.placed import placed
from privimage.data.sets import PrivateSet
from privimage.means.embedding import Vectors
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell

See = Callable[[NDArray[np.uint8]], Vectors]  # images -> what is seen in each [n, D]
Noisy = NDArray[np.float64]  # votes [labels, candidates]
# The number of a round and the noisy votes of the one before -> what is seen in its candidates: [labels or 1, N, D]
Propose = Callable[[int, Noisy | None], Vectors]


@dataclass(frozen=True, kw_only=True)
class Voters:
    """Images of a batch: what is `seen` in its rows [ROWS, D], and `row` [m] and label `y` [m] of every image."""

    seen: Vectors
    row: NDArray[np.int64]
    y: NDArray[np.int64]


def ask(
    see: See, sensitive: PrivateSet, propose: Propose, *, event: Event, entropy: Entropy, progress: Tell
) -> Release[list[Noisy]]:
    """The noisy votes of every round, each of an image for one candidate, and the event that they cost."""
    sensitive.must_be(event.split)
    voters = [Voters(seen=see(batch.x), row=batch.row, y=sensitive.y[batch.index]) for batch in placed(sensitive)]
    rounds: list[Noisy] = []
    for number in range(event.steps):
        proposed = propose(number, rounds[-1] if rounds else None)
        H = count(voters, proposed, labels=len(sensitive.classes))
        rounds.append(event.perturb(H, sensitivity=1, stream=entropy.stream(f"round {number}")))
        progress(number + 1, event.steps)
    return Release(value=rounds, events=(event,))


def count(voters: Sequence[Voters], proposed: Vectors, *, labels: int) -> NDArray[np.int64]:
    """H [labels, candidates] of these images."""
    H = np.zeros((labels, proposed.shape[1]), np.int64)
    for batch in voters:
        np.add.at(H, (batch.y, nearest(batch.seen, proposed)[batch.row, batch.y % len(proposed)]), 1)
    return H


def nearest(seen: Vectors, proposed: Vectors) -> NDArray[np.int64]:
    """Of all images of a batch [ROWS, D] and candidates [labels or 1, N, D] the nearest one of each label.

    It is computed of whole batches, for all labels: that of an image follows from it alone. Whatever is seen in an
    image, also no numbers, it has one.
    """
    flat = proposed.reshape(-1, proposed.shape[-1])
    score = np.square(flat).sum(axis=1) - 2 * seen @ flat.T  # of distances squared, but for what is the image's own
    found: NDArray[np.int64] = score.reshape(len(seen), *proposed.shape[:2]).argmin(axis=2)
    return found
