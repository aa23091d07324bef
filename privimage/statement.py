"""Statement: what a ledger says, for whoever answers for the data: its lines as rows, its totals in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from privimage.budget import AnyOf, BestOf, Cost, Event
from privimage.cap import Cap
from privimage.entries import CapLine, Charge, Close, Lines, Reserve
from privimage.ledger import Ledger
from privimage.tally import Spending

ROW = ("#", "at", "what", "events")


def epsilon(value: float | None) -> str:
    """An epsilon to five significant digits, rounded up so that no more was paid than is read; "none" without one.

    >>> epsilon(9.999512), epsilon(0.12), epsilon(None), epsilon(math.inf)
    ('9.9996', '0.12', 'none', 'infinite')
    """
    if value is None:
        return "none"
    if math.isinf(value):
        return "infinite"
    if value == 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 4)
    return f"{math.ceil(round(value / unit, 6)) * unit:.5g}"


def rows(lines: Lines) -> list[tuple[str, str, str, str]]:
    """A row for every line, as ROW says: number from 1, time, what was asked, and its price in noise."""
    return [(str(line.number + 1), line.at, *_texts(line)) for line in lines]


def _texts(line: Charge | CapLine | Reserve | Close) -> tuple[str, str]:
    match line:
        case Charge():
            under = "" if line.under is None else f" (under {line.under[:12]})"
            return line.what + under, describe(line.events)
        case CapLine():
            return f"CAP {line.cap.budget}", f"divergence {line.cap.rho:.6g} at order {line.cap.order:g}"
        case Reserve():
            return f"RESERVED {line.id[:12]}: {line.what}", describe(line.events)
        case Close():
            return f"CLOSED {line.id[:12]}", ""


def describe(costs: Sequence[Cost]) -> str:
    """Every cost by its noise. Of a private selection the law of K, never K.

    >>> sgd, score = Event(purpose="dp-sgd", sigma=2, q=0.25, steps=10), Event(purpose="score", sigma=9)
    >>> describe([sgd, AnyOf(events=(sgd,), times=3)])
    'dp-sgd sigma=2 q=0.25 steps=10; 3 times dp-sgd sigma=2 q=0.25 steps=10'
    >>> from privimage.tuning.law import Law
    >>> describe([BestOf(law=Law(mean=10), events=(sgd,), score=score)])
    'best of K ~ logarithmic law with mean 10: dp-sgd sigma=2 q=0.25 steps=10, score sigma=9'
    >>> describe([Event(purpose="none", sigma=0)])
    'NOT PRIVATE'
    """
    return "; ".join(_one(cost) for cost in costs)


def _one(cost: Cost) -> str:
    match cost:
        case Event():
            return _event(cost)
        case AnyOf():
            return f"{cost.times} times {_choice(cost.events)}"
        case BestOf():
            return f"best of {cost.law}: {_choice(cost.events)}, {_event(cost.score)}"


def _choice(events: Sequence[Event]) -> str:
    kinds = list(dict.fromkeys(map(_event, events)))
    return kinds[0] if len(kinds) == 1 else f"any of ({' | '.join(kinds)})"


def _event(event: Event) -> str:
    if not event.private:
        return "NOT PRIVATE"
    use = "" if event.q == 1 and event.steps == 1 else f" q={event.q:.4g} steps={event.steps}"
    cap = "" if event.cap is None else f" at most {event.cap} of {event.n} in a batch"
    return f"{event.purpose} sigma={event.sigma:.4g}{use}{cap}"


def sentences(ledger: Ledger, *, delta: float | None = None) -> list[str]:
    """The totals of all charges at `delta` (that of the cap, else 1e-5), and how much of the cap is left."""
    lines, cap, spending = ledger.lines(), ledger.cap(), ledger.spending()
    charges = [line for line in lines if isinstance(line, Charge)]
    if delta is None:
        delta = 1e-5 if cap is None else cap.budget.delta
    found = [
        f"All private accesses together cost epsilon {epsilon(ledger.epsilon(delta))} at delta {delta:g}, "
        "if they were planned before the first of them.",
        f"By Renyi divergences, a looser way to add up, it is epsilon {epsilon(ledger.epsilon_filter(delta))}.",
    ]
    if cap is not None and spending is not None:
        found += _of_cap(cap, spending)
        before = sum(isinstance(line, Charge) for line in _before_the_cap(lines))
        if before:
            found.append(f"The cap was set after {before} charges: it must not have been chosen by their answers.")
    else:
        found.append("No cap is set, so nothing limits what further runs may ask; see privimage ledger cap --help.")
    bare = sum(not event.private for charge in charges for event in charge.events)
    if bare:
        found.append(f"Uses of the data without noise (NOT PRIVATE above): {bare}; no epsilon covers them.")
    return found


def _before_the_cap(lines: Lines) -> Lines:
    return lines[: next(i for i, line in enumerate(lines) if isinstance(line, CapLine))]


def _of_cap(cap: Cap, spending: Spending) -> list[str]:
    spent, counted = cap.share(spending.charged), cap.share(spending.counted)
    return [
        f"Also if each was chosen in the light of the answers before it, as a search does, the cap proves epsilon "
        f"{epsilon(cap.epsilon(spending.charged))} at delta {cap.budget.delta:g} so far (order {cap.order:g}).",
        f"The cap is {cap.budget} for the lifetime of the set, whatever is asked: {spent:.1%} of it is spent, "
        f"{max(counted - spent, 0.0):.1%} more is reserved, {max(1 - counted, 0.0):.1%} is left.",
    ]
