"""How much noise a budget asks for: the least that keeps a total at or below its target, never above."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from privimage.errors import BudgetExceeded, SharedTooDear
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.accounting.total import epsilon
from privimage.privacy.budget import Access, Budget, Event

TOLERANCE = 1e-3  # calibration ends within this much epsilon below the target, never above; of a target below 1, within
# this share of it
SIGMA_MIN, SIGMA_MAX = 0.05, 1e7


@lru_cache(maxsize=4096)
def calibrate(*, budget: Budget, access: Access, others: tuple[Cost, ...] = ()) -> Event:
    """The access with the least noise such that it and `others` together meet `budget`.

    The total epsilon lies in (budget.epsilon - 0.001, budget.epsilon], for a budget below 1 in its upper thousandth;
    lower only where even a noise multiplier of SIGMA_MIN is enough. Raises BudgetExceeded if `others` alone already
    spend the budget, or if no noise multiplier up to SIGMA_MAX is enough; InputError as `epsilon` does.
    """
    spent = epsilon(others, budget.delta)
    if spent >= budget.epsilon:
        raise SharedTooDear(budget, spent)

    def total(sigma: float) -> float:
        return epsilon((*others, access.event(sigma)), budget.delta)

    sigma = least(total, target=budget.epsilon, low=SIGMA_MIN, high=SIGMA_MAX)
    if sigma is None:
        raise BudgetExceeded(
            f"budget {budget}: {access.steps} steps at q {access.q:g} cost more with any noise multiplier up to "
            f"{SIGMA_MAX:g}; raise epsilon or delta"
        )
    return access.event(sigma)


def least(total: Callable[[float], float], *, target: float, low: float, high: float) -> float | None:
    """The least x in [low, high] with total(x) <= target, to TOLERANCE in total; None if there is none.

    `total` falls in x. x has six significant digits, rounded so that total stays below the target: the same number on
    every machine, so that keys which contain it stay the same.
    """
    bracket = _bracket(lambda s: total(math.exp(s)), target, math.log(low), math.log(high))
    if bracket is None:
        return None
    aim = target - min(1.0, target) * TOLERANCE / 2
    start, end = bracket
    if start < end and total(math.exp(end)) <= aim:
        from scipy.optimize import brentq  # here: its package takes longer to load than all else that accounts

        end = float(brentq(lambda s: total(math.exp(s)) - aim, start, end, xtol=1e-7, maxiter=60))
    x = _round_up(math.exp(end))
    while total(x) > target:  # the grid makes totals slightly stepped: never over target
        x = _round_up(x * (1 + 1e-5))
    return x


def _round_up(x: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(x)) - 5)
    return round(math.ceil(x / unit) * unit, 12)


def _bracket(total: Callable[[float], float], target: float, low: float, high: float) -> tuple[float, float] | None:
    """Two logarithms, the first too small and the second enough; the same twice at the low end, None at the high."""
    start = min(max(math.log(1.0), low), high)
    end = start
    while total(end) > target:
        if end >= high:
            return None
        start, end = end, min(end + math.log(2.0), high)
    while start == end or total(start) <= target:
        if start <= low:
            return low, low
        start, end = max(start - math.log(2.0), low), start
    return start, end
