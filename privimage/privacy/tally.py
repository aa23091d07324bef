"""Tally: what the lines of a ledger amount to. Pure functions of the lines; nothing here reads or writes a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privimage.privacy import wall
from privimage.privacy.accounting import epsilon_rdp
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.cap import Cap
from privimage.privacy.entries import CapLine, Charge, Close, Lines, Reserve

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What counts against a cap, as divergences at its order: (training split, validation split)."""

    charged: Array
    counted: Array  # charged, and what open reservations hold beyond the charges under them


def costs_of(lines: Iterable[Charge | Reserve]) -> list[Cost]:
    """The costs of all these lines, in order."""
    return [event for line in lines for event in line.events]


def cap_of(lines: Lines) -> Cap | None:
    """The cap among these lines: the first, if a forger wrote several."""
    return next((line.cap for line in lines if isinstance(line, CapLine)), None)


def open_of(lines: Lines) -> dict[str, Reserve]:
    """The reservations that are not closed, by id."""
    found: dict[str, Reserve] = {}
    for line in lines:
        if isinstance(line, Reserve):
            found[line.id] = line
        elif isinstance(line, Close):
            found.pop(line.id, None)
    return found


def bills(lines: Lines) -> list[Reserve]:
    """The last reservation of every id, open or closed, in the order in which they were first made."""
    return list({line.id: line for line in lines if isinstance(line, Reserve)}.values())


def plan_of(lines: Lines) -> tuple[Cost, ...] | None:
    """What bounds all charges, if it was fixed before the first of them: their one bill, or the one charge itself."""
    charges = [line for line in lines if isinstance(line, Charge)]
    if len(charges) == 1:
        return charges[0].events
    under = {line.under for line in charges}
    if len(under) != 1 or None in under:
        return None
    made = [line.events for line in lines if isinstance(line, Reserve) and line.id in under]
    return made[0] if len(set(made)) == 1 else None  # a bill that grew was not fixed


def charged_under(lines: Lines, id: str) -> list[Cost]:
    """Everything that was ever charged under the reservation of that id."""
    return costs_of(line for line in lines if isinstance(line, Charge) and line.under == id)


def fits(lines: Lines, reserved: Reserve, more: Sequence[Cost] = ()) -> bool:
    """Whether the bill counts everything that was charged under it, and `more` beside it."""
    return wall.admits(reserved.events, [*charged_under(lines, reserved.id), *more])


def spending(lines: Lines, cap: Cap) -> Spending:
    """Charges under an open reservation count inside it: the larger of it and their sum, in each split."""
    charged, counted = sums(lines, cap.price, np.zeros(2))
    return Spending(charged=charged, counted=counted)


def sums(lines: Lines, price: Callable[[Sequence[Cost]], Array], zero: Array) -> tuple[Array, Array]:
    """The price of all charges, and of all charges with what open reservations hold beyond those under them."""
    reserved = open_of(lines)
    inside = {id: zero for id in reserved}
    charged, outside = zero, zero
    for line in lines:
        if isinstance(line, Charge):
            cost = price(line.events)
            charged = charged + cost
            if line.under in inside:
                inside[line.under] = inside[line.under] + cost
            else:
                outside = outside + cost
    for id, reservation in reserved.items():
        outside = outside + np.maximum(inside[id], price(reservation.events))
    return charged, outside


def beyond_cap(cap: Cap, before: Lines, after: Lines) -> str:
    """Why the last line of `after` is refused."""
    old, new = spending(before, cap).counted, spending(after, cap).counted
    delta, last = cap.budget.delta, after[-1]
    what = f"'{last.what}'" if isinstance(last, Charge | Reserve) else f"the cap {cap.budget}"
    charges = [line for line in before if isinstance(line, Charge)]
    spent = f"epsilon {epsilon_rdp(costs_of(charges), delta):.4g} is spent"
    if not isinstance(last, Charge | Reserve):
        return f"{what} is refused: {spent} already"
    split = int(np.argmax(new))
    return (
        f"{what} is refused: it asks for epsilon {epsilon_rdp(costs_of([last]), delta):.4g} "
        f"({(new - old)[split] / cap.rho:.1%} of the cap) where {spent} ({old[split] / cap.rho:.1%} of the cap, with "
        "what is reserved), by Renyi divergences, as a cap counts: its shares add up, epsilons do not; "
        f"the cap is {cap.budget} for the lifetime of the set; ask for less: "
        "fewer trials, smaller budgets, or tuning.mode select"
    )


def no_looks(asked: str) -> str:
    """Why looks without noise are refused, and what to do."""
    return (
        f"{asked} would be read without noise, which this set does not admit (privimage ledger cap --no-diagnostics); "
        "use dp-accuracy metrics in objectives and metrics, and drop the rows without privacy from compare"
    )


def beyond_bill(what: str, lines: Lines, id: str) -> str:
    """Why a charge under the bill of that id is refused: it is not open, or counts nothing like it any more."""
    last = next((line for line in reversed(lines) if isinstance(line, Reserve) and line.id == id), None)
    if last is None:
        return f"'{what}' is refused: no bill {id[:12]} was ever opened here; a sweep opens its own before it asks"
    other = "restore the run's folder from a backup, or give the sweep another name (it is charged beside this one)"
    if id not in open_of(lines):
        return f"'{what}' is refused: the bill of '{last.what}' ({id[:12]}) is closed and admits nothing new; {other}"
    done = len(charged_under(lines, id))
    return (
        f"'{what}' is refused: the bill of '{last.what}' ({id[:12]}) counts {wall.places(last.events)} accesses, "
        f"{done} are charged, and none of the others is this one: part of what the run had tried was lost; {other}"
    )
