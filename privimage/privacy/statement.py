"""Statement: what a ledger says, for whoever answers for the data: its lines as rows, its totals in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from privimage.privacy import accounting, tally
from privimage.privacy.accounting import odometer
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.budget import Event
from privimage.privacy.cap import Cap
from privimage.privacy.entries import CapLine, Charge, Close, Line, Lines, LookLine, NoLooks, Reserve
from privimage.privacy.ledger import Ledger

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


def _texts(line: Line) -> tuple[str, str]:
    match line:
        case Charge():
            under = "" if line.under is None else f" (under {line.under[:12]})"
            return line.what + under, describe(line.events)
        case LookLine():
            under = "" if line.under is None else f" (under {line.under[:12]})"
            return f"LOOK {line.what}{under}", f"NOT PRIVATE: reads the {line.split} split without noise"
        case NoLooks():
            return "NO LOOKS without noise from here on", ""
        case CapLine():
            return f"CAP {line.cap.budget}", f"divergence {line.cap.rho:.6g} at order {line.cap.order:g}"
        case Reserve():
            return f"RESERVED {line.id[:12]}: {line.what}", describe(line.events)
        case Close():
            return f"CLOSED {line.id[:12]}", ""


def describe(costs: Sequence[Cost]) -> str:
    """Every cost by its noise. Of a private selection the law of K, never K.

    >>> sgd = Event(purpose="dp-sgd", sigma=2, q=0.25, steps=10, split="train")
    >>> score = Event(purpose="score", sigma=9, split="validation")
    >>> describe([sgd, AnyOf(events=(sgd,), times=3)])
    'dp-sgd sigma=2 q=0.25 steps=10; 3 times dp-sgd sigma=2 q=0.25 steps=10'
    >>> from privimage.privacy.accounting.law import Law
    >>> describe([BestOf(law=Law(mean=10), events=(sgd,), score=score)])
    'best of K ~ logarithmic law with mean 10: dp-sgd sigma=2 q=0.25 steps=10, score sigma=9'
    """
    return "; ".join(_one(cost) for cost in costs)


def _one(cost: Cost) -> str:
    match cost:
        case Event():
            return str(cost)
        case AnyOf():
            return f"{'once' if cost.times == 1 else f'{cost.times} times'} {_choice(cost.events)}"
        case BestOf():
            return f"best of {cost.law}: {_choice(cost.events)}, {cost.score}"


def _choice(events: Sequence[Event]) -> str:
    kinds = list(dict.fromkeys(map(str, events)))
    return kinds[0] if len(kinds) == 1 else f"any of ({' | '.join(kinds)})"


def usual_delta(cap: Cap | None) -> float:
    """The delta at which a ledger is read where nobody names one: that of its cap, else 1e-5."""
    return 1e-5 if cap is None else cap.budget.delta


def sentences(ledger: Ledger, *, delta: float | None = None) -> list[str]:
    """What is spent at `delta` (that of the cap, else 1e-5), of which cap, what may still be asked, and the looks."""
    lines, cap = ledger.lines(), ledger.cap()
    if delta is None:
        delta = usual_delta(cap)
    value, why = total(lines, delta)
    found = [f"Epsilon {epsilon(value)} at delta {delta:g} is spent{_of_the(cap, delta)}: {why}."]
    if cap is not None:
        found += _left(cap, lines, delta)
        before = sum(isinstance(line, Charge) for line in _before_the_cap(lines))
        if before:
            found.append(f"The cap was set after {before} charges: it must not have been chosen by their answers.")
    else:
        found.append("No cap is set, so nothing limits what further runs may ask; see privimage ledger cap --help.")
    return [*found, *_looks(lines)]


def total(lines: Lines, delta: float) -> tuple[float, str]:
    """The epsilon of all charges at `delta`, one that holds, and why it does, in words.

    What was asked under one bill costs what the bill says, by PLD: it was fixed before the first answer. As soon as
    there is a second, it may have been chosen in the light of the answers to the first: then the odometer holds. A cap
    that was set before the first charge bounds both.
    """
    charges = [line for line in lines if isinstance(line, Charge)]
    charged, _ = tally.sums(lines, odometer.divergences, odometer.NOTHING)
    found = [(odometer.epsilon(charged, delta), "however each access was chosen in the light of earlier answers")]
    plan = tally.plan_of(lines)
    if plan is not None:
        found.append((accounting.epsilon(plan, delta), "all of it was planned before the first answer"))
    cap = tally.cap_of(lines)
    if cap is not None and cap.budget.delta <= delta and not _charges_before(lines):
        found.append((cap.budget.epsilon, "the cap admits no more, whatever was chosen"))
    return min(found) if charges else (0.0, "nothing was asked")


def details(ledger: Ledger, *, delta: float | None = None) -> list[str]:
    """The same by other rules, for experts: none of these holds for accesses chosen on the way, but that of the cap."""
    cap, spending = ledger.cap(), ledger.spending()
    if delta is None:
        delta = usual_delta(cap)
    charged, counted = tally.sums(ledger.lines(), odometer.divergences, odometer.NOTHING)
    found = [
        f"By PLD, had all charges been planned before the first: epsilon {epsilon(ledger.epsilon(delta))}; by RDP at "
        f"the best order: {epsilon(ledger.epsilon_filter(delta))} (delta {delta:g}).",
        f"Renyi divergences of the charges, training / validation split, by order ({odometer.RULE}):",
        *(
            f"  order {order:g}: {train:.5g} / {validation:.5g}"
            for order, train, validation in zip(odometer.ORDERS, *charged, strict=True)
        ),
        f"With what is reserved, the odometer reads epsilon {epsilon(odometer.epsilon(counted, delta))}.",
    ]
    if cap is not None and spending is not None:
        spent, all_ = cap.share(spending.charged), cap.share(spending.counted)
        found.append(
            f"The cap {cap.budget} is divergence {cap.rho:.6g} at order {cap.order:g}: {spent:.1%} of it is spent, "
            f"{max(all_ - spent, 0.0):.1%} more is reserved, {max(1 - all_, 0.0):.1%} is left."
        )
    return found


def _of_the(cap: Cap | None, delta: float) -> str:
    return f" of the cap's {cap.budget.epsilon:g}" if cap is not None and cap.budget.delta == delta else ""


def _left(cap: Cap, lines: Lines, delta: float) -> list[str]:
    """How much is held for bills that are open, and the largest access that the cap would still admit."""
    at, counted = cap.budget.delta, tally.spending(lines, cap).counted
    _, held = tally.sums(lines, odometer.divergences, odometer.NOTHING)
    open_ = list(tally.open_of(lines).values())
    found = [] if at == delta else [f"The cap is {cap.budget}, for the lifetime of the set."]
    if open_:
        reading = min(odometer.epsilon(held, at), cap.budget.epsilon)
        names = ", ".join(dict.fromkeys(f"'{bill.what}'" for bill in open_))
        found.append(f"With what is held for {names}, epsilon {epsilon(reading)} of the cap's {cap.budget.epsilon:g}.")
    room = cap.room(counted)
    if room < 1e-3:
        return [*found, "The cap admits nothing more."]
    largest = f"{math.floor(room * 1e3) / 1e3:.5g}"  # rounded down
    return [*found, f"It admits one more access of epsilon {largest} by itself at most, or several that are smaller."]


def _looks(lines: Lines) -> list[str]:
    """How often the set was looked at without noise, by split, and whether that is still possible."""
    looks = [line for line in lines if isinstance(line, LookLine)]
    splits = Counter(line.split for line in looks)
    each = ", ".join(f"{splits[split]} {split} split" for split in ("train", "validation", "test") if splits[split])
    found = [f"Looks without noise: {len(looks)} ({each}), not covered by any epsilon."] if looks else []
    if any(isinstance(line, NoLooks) for line in lines):
        found.append("No further look without noise is admitted.")
    return found


def _before_the_cap(lines: Lines) -> Lines:
    return lines[: next(i for i, line in enumerate(lines) if isinstance(line, CapLine))]


def _charges_before(lines: Lines) -> bool:
    """Whether anything was charged before the cap was set."""
    return any(isinstance(line, Charge) for line in _before_the_cap(lines))
