"""Odometer: the epsilon of accesses that were chosen in the light of earlier answers, read at a time that was, too.

Bounds for accesses that are planned beforehand (PLD, or RDP at the best order) do not hold where what is asked next,
and whether anything is, follows from the answers so far. What does: fix an order alpha before the first access. With
L the privacy loss of all that was answered and rho the sum of the accesses' Renyi divergences of that order,
exp((alpha - 1)(L - rho)) is a supermartingale, whose mean is at most 1 whenever one stops; so L is beyond
rho + log(1 / delta) / (alpha - 1) with probability delta at most (Lecuyer 2021; Whitehouse et al. 2023). Here some
orders are fixed, in this file, and each is given its share of delta, so that the least of their bounds holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privimage.privacy.accounting import rdp
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.accounting.total import SPLITS

Array = NDArray[np.float64]

ORDERS = (2.0, 3.0, 5.0, 8.0, 16.0, 32.0, 63.0, 256.0, 1024.0)  # each costs its share of delta
NOTHING: Array = np.zeros((len(SPLITS), len(ORDERS)))
RULE = "epsilon is the least divergence + log(orders / delta) / (order - 1)"
INDEX = np.array([int(np.argmin(np.abs(rdp.ORDERS - order))) for order in ORDERS])


def divergences(costs: Sequence[Cost]) -> Array:
    """Divergences [splits, ORDERS] of costs with noise: they add up, whatever is chosen."""
    return np.stack([rdp.divergences(costs, split)[INDEX] for split in SPLITS])


def epsilon(sums: Array, delta: float) -> float:
    """Epsilon at `delta` of accesses whose divergences add up to `sums` [splits, ORDERS], by the dearer split.

    >>> from privimage.privacy.budget import Event
    >>> asked = Event(purpose="query", sigma=5.0, split="train")
    >>> round(epsilon(divergences([asked]), 1e-5), 2)  # planned beforehand: 0.73
    1.08
    """
    if not sums.any():
        return 0.0
    shares = math.log(len(ORDERS) / delta) / (np.array(ORDERS) - 1)
    return float(np.max(np.min(sums + shares, axis=1)))
