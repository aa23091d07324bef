"""Epsilon of a list of events, and the DP-SGD noise that makes everything a trial releases meet its budget.

The answer is the PLD accountant's (Google's dp-accounting): an upper bound on the exact cost under adding or
removing one example. RDP, the accountant of the PrivImage paper, is computed beside it for comparison.

>>> from privimage.budget import Budget, Event
>>> query = Event(purpose="query", sigma=484.0)
>>> round(calibrate(budget=Budget(epsilon=10, delta=1e-5), q=0.328, steps=152, others=(query,)).sigma, 2)
2.17
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from dp_accounting import dp_event as dpe
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from scipy.optimize import brentq

from privimage.budget import Budget, Event
from privimage.errors import BudgetExceeded

TOLERANCE = 1e-3  # calibration ends within this much epsilon below the target, never above
SIGMA_MIN, SIGMA_MAX = 0.05, 1e5
GRID = 5e-4  # of the privacy loss; one value everywhere, so that calibrating then accounting agree exactly


def _dp_event(event: Event) -> dpe.DpEvent:
    gaussian = dpe.GaussianDpEvent(event.sigma)
    once = gaussian if event.q == 1 else dpe.PoissonSampledDpEvent(event.q, gaussian)
    return once if event.steps == 1 else dpe.SelfComposedDpEvent(once, event.steps)


def _merged(events: Sequence[Event]) -> tuple[Event, ...]:
    """The same events with equal mechanisms as one event of more steps, in a fixed order: faster to compose."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        steps[event.sigma, event.q] = steps.get((event.sigma, event.q), 0) + event.steps
    return tuple(Event(purpose="dp-sgd", sigma=s, q=q, steps=n) for (s, q), n in sorted(steps.items()))


@lru_cache(maxsize=4096)
def _epsilon(events: tuple[Event, ...], delta: float) -> float:
    accountant = PLDAccountant(value_discretization_interval=GRID)
    for event in events:
        accountant.compose(_dp_event(event))
    return float(accountant.get_epsilon(delta))


def epsilon(events: Sequence[Event], delta: float) -> float:
    """Upper bound on the total epsilon at `delta` of all events together, by PLD; infinite without noise.

    >>> from privimage.budget import Event
    >>> round(epsilon([Event(purpose="dp-sgd", sigma=1.0, q=0.02, steps=1000)], 1e-5), 2)
    3.9
    >>> epsilon([Event(purpose="none", sigma=0)], 1e-5)
    inf
    >>> epsilon([], 1e-5)
    0.0
    """
    if not all(event.private for event in events):
        return math.inf
    if not events:
        return 0.0
    return _epsilon(_merged(events), delta)


@lru_cache(maxsize=4096)
def _rdp(events: tuple[Event, ...], delta: float) -> float:
    logging.getLogger("absl").setLevel(logging.ERROR)  # low orders fail to converge; they never win
    accountant = RdpAccountant()
    for event in events:
        accountant.compose(_dp_event(event))
    return float(accountant.get_epsilon(delta))


def epsilon_rdp(events: Sequence[Event], delta: float) -> float:
    """Total epsilon at `delta` by RDP, the paper's accountant: looser than `epsilon`, shown beside it.

    >>> from privimage.budget import Event
    >>> round(epsilon_rdp([Event(purpose="dp-sgd", sigma=1.0, q=0.02, steps=1000)], 1e-5), 2)
    4.32
    """
    if not all(event.private for event in events):
        return math.inf
    return _rdp(_merged(events), delta) if events else 0.0


@lru_cache(maxsize=4096)
def calibrate(*, budget: Budget, q: float, steps: int, others: tuple[Event, ...] = ()) -> Event:
    """The DP-SGD event (q, steps) with the least noise such that it and `others` together meet `budget`.

    The total epsilon lies in (budget.epsilon - 0.001, budget.epsilon]. Raises BudgetExceeded if `others` alone
    already spend the budget, or if no noise multiplier up to 1e5 is enough.
    """
    spent = epsilon(others, budget.delta)
    if spent >= budget.epsilon:
        raise BudgetExceeded(
            f"budget {budget}: the query alone costs epsilon {spent:.3g}; raise method.query.sigma or the budget"
        )

    def total(log_sigma: float) -> float:
        event = Event(purpose="dp-sgd", sigma=math.exp(log_sigma), q=q, steps=steps)
        return epsilon((*others, event), budget.delta)

    low, high = _bracket(total, budget)
    aim = budget.epsilon - TOLERANCE / 2
    root = high if total(high) > aim else float(brentq(lambda s: total(s) - aim, low, high, xtol=1e-7, maxiter=60))
    sigma = _round_up(math.exp(root))
    while total(math.log(sigma)) > budget.epsilon:  # the grid makes total() slightly stepped: never over target
        sigma = _round_up(sigma * (1 + 1e-5))
    return Event(purpose="dp-sgd", sigma=sigma, q=q, steps=steps)


def _round_up(sigma: float) -> float:
    """Six significant digits, rounded towards more noise: the same number on every machine, so keys stay the same."""
    unit = 10.0 ** (math.floor(math.log10(sigma)) - 5)
    return round(math.ceil(sigma / unit) * unit, 12)


def _bracket(total: Callable[[float], float], budget: Budget) -> tuple[float, float]:
    """Logarithms of a noise multiplier that is too small and of one that is enough."""
    low, high = math.log(0.5), math.log(2.0)
    while total(high) > budget.epsilon:
        low, high = high, high + math.log(2.0)
        if high > math.log(SIGMA_MAX):
            raise BudgetExceeded(f"budget {budget}: cannot be met with a noise multiplier up to {SIGMA_MAX:g}")
    while total(low) < budget.epsilon:
        low, high = low - math.log(2.0), low
        if low < math.log(SIGMA_MIN):
            return math.log(SIGMA_MIN), math.log(SIGMA_MIN)
    return low, high
