"""Cap: the most that may ever be asked of a sensitive set, also by accesses that are chosen on the way.

What an analyst asks next depends on the answers so far, so prices of the past cannot simply be added up and compared
with a budget: how many there are is itself chosen. A filter can be: fix ONE order alpha and a number rho before the
first access, and admit an access only while the Renyi divergences of order alpha of all accesses add up to rho at
most. Then everything together has Renyi divergence rho at order alpha, whatever was chosen (Feldman and Zrnic 2021,
Thm. 4.3), hence (epsilon, delta)-DP by the usual conversion.

Each access has a price on the training split and one on the validation split. One example is in one of them only, so
the two are added up apart, and the larger sum counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from privimage.errors import InputError
from privimage.privacy.accounting import epsilon, rdp
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.accounting.total import SPLITS
from privimage.privacy.budget import Budget, Event
from privimage.schema import Frozen

Array = NDArray[np.float64]

SLACK = 1e-9  # sums of the same prices in another order differ in their last digits; rho is smaller by so much


class Cap(Frozen):
    """A budget for the lifetime of a set, as a filter: an order, fixed, and the divergence `rho` that it admits."""

    budget: Budget
    order: float = Field(gt=1)
    rho: float = Field(gt=0)

    @model_validator(mode="after")
    def _keeps_its_budget(self) -> Self:
        if self.epsilon(np.array([self.rho])) > self.budget.epsilon:
            raise ValueError(f"a divergence of {self.rho:g} at order {self.order:g} is more than {self.budget}")
        return self

    @classmethod
    def of(cls, budget: Budget) -> Self:
        """The filter of this budget, at the order that admits the most Gaussian noise mechanisms.

        At order alpha the budget admits rho(alpha), of which a Gaussian mechanism uses a multiple of alpha: so the
        order with the largest rho(alpha) / alpha. Raises InputError if no order admits anything.

        >>> cap = Cap.of(Budget(epsilon=20, delta=1e-5))
        >>> cap.order, round(cap.rho, 3)
        (2.4, 12.941)
        """
        rho = rdp.divergences_at(budget.epsilon, budget.delta)
        best = int(np.argmax(rho / rdp.ORDERS))
        if rho[best] <= 0:
            raise InputError(f"cap {budget}: admits no access at all; raise epsilon or delta")
        return cls(budget=budget, order=round(float(rdp.ORDERS[best]), 6), rho=float(rho[best]) * (1 - SLACK))

    def price(self, costs: Sequence[Cost]) -> Array:
        """Divergences at the cap's order of the private ones among `costs`: (training split, validation split)."""
        total = np.zeros(len(SPLITS))
        for cost in costs:
            if cost.private:
                total += _price(cost, _index(self.order))
        return total

    def admits(self, total: Array) -> bool:
        """Whether this sum of prices is within the cap."""
        return bool(np.max(total) <= self.rho * (1 + SLACK))

    def share(self, total: Array) -> float:
        """How much of the cap this sum of prices uses: 1 is all of it."""
        return float(np.max(total) / self.rho)

    def room(self, total: Array) -> float:
        """Epsilon, at the cap's delta, of the largest Gaussian access that is admitted beside this sum; 0 if none is.

        >>> cap = Cap.of(Budget(epsilon=20, delta=1e-5))
        >>> 10 < cap.room(np.zeros(2)) < 20, cap.room(np.array([cap.rho, 0]))
        (True, 0.0)
        """
        left = self.rho - float(np.max(total))
        if left <= SLACK * self.rho:
            return 0.0
        return epsilon(
            [Event(purpose="access", sigma=math.sqrt(self.order / (2 * left)), split="train")], self.budget.delta
        )

    def epsilon(self, total: Array) -> float:
        """Epsilon, at the cap's delta, of accesses with this sum of prices, by the cap's order alone.

        An order that suits the whole cap suits little spending badly: a first small access already reads as a third of
        the cap's epsilon. Shares of the cap add up, epsilons do not.
        """
        worst = float(np.max(total))
        if worst == 0:
            return 0.0
        return float(rdp.epsilon_at(np.full(len(rdp.ORDERS), worst), self.budget.delta)[_index(self.order)])


@lru_cache(maxsize=2**16)
def _price(cost: Cost, index: int) -> Array:
    return np.array([rdp.divergences([cost], split)[index] for split in SPLITS])


def _index(order: float) -> int:
    index = int(np.argmin(np.abs(rdp.ORDERS - order)))
    if not math.isclose(rdp.ORDERS[index], order, rel_tol=1e-5):
        raise ValueError(f"order {order:g} is none that this version of privimage computes")
    return index
