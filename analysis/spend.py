"""Spend: what was paid in privacy, and what no epsilon covers, in sentences for a data officer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from privimage.analysis import words
from privimage.analysis.facts import Facts
from privimage.errors import InputError
from privimage.privacy import accounting, statement
from privimage.privacy.budget import Event
from privimage.privacy.entries import Charge
from privimage.privacy.ledger import Ledger
from privimage.record import Paid, Record
from privimage.schema import Frozen


def budget_line(record: Record) -> str:
    """What one trial spent, event by event, against its budget; of the winner of a selection, with the selection.

    For example: "query sigma=10 -> epsilon 0.34; dp-sgd sigma=1.93 q=0.5 steps=50 -> epsilon 9.98; together epsilon
    9.9996 (PLD) <= 10 at delta 1e-05; RDP 10.85".
    """
    if not record.events:
        return "no access to sensitive data: epsilon 0"
    parts = [_event(event, record) for event in record.events]
    if record.epsilon_alone is None:
        return "; ".join([*parts, "together: NO privacy guarantee (a comparison row)"])
    target = record.budget.epsilon
    fits = f"<= {target:g}" if record.epsilon_alone <= target else f"EXCEEDS the budget of {target:g}"
    whole = "together" if record.selection is None else "shared answers and a selection among K such trials together"
    together = f"{whole} epsilon {words.epsilon(record.epsilon_alone)} (PLD) {fits} at delta {record.budget.delta:g}"
    return "; ".join([*parts, together, f"RDP {by_rdp(record)}"])


def by_rdp(record: Record) -> str:
    """The epsilon of a record by RDP: "none" without a guarantee, a dash where RDP has no bound."""
    return words.bound(record.epsilon_rdp_alone) if record.private else words.epsilon(None)


def _event(event: Event, record: Record) -> str:
    if not event.private:
        return str(event)
    alone = words.epsilon(accounting.epsilon([event], record.budget.delta))
    cost = f" -> epsilon {alone}" if len(record.events) > 1 and record.selection is None else ""
    return f"{event}{_derived(event, record)}{cost}"


def _derived(event: Event, record: Record) -> str:
    """Where an answer came from, if it is a noisier copy of one that the whole sweep asked once."""
    if event.shared is None:
        return ""
    paid = (cost for access in record.paid for cost in access.events)
    asked = [cost.sigma for cost in paid if isinstance(cost, Event) and cost.shared == event.shared]
    return (
        f" (derived from one answer of the sweep at sigma={min(asked):g})" if asked and event.sigma not in asked else ""
    )


def accesses(records: Sequence[Record]) -> list[Paid]:
    """Everything that the records paid for, each access once, in order."""
    return list({access.id: access for record in records for access in record.paid}.values())


def ledger_sentences(found: Facts) -> list[str]:
    """What the ledger of every sensitive set says about this run, and what all runs on that set have paid."""
    return [sentence for id in found.sensitive_ids for sentence in _ledger(found, id)]


def _ledger(found: Facts, id: str) -> list[str]:
    ledger = Ledger(found.folder.root.ledger(id))
    try:
        charges = ledger.charges()
    except InputError as error:
        return [f"WARNING: the ledger of {id} does not verify: {error}"]
    if not charges and not ledger.path.exists():
        return [f"WARNING: the ledger of {id} is not beside this run, so its charges could not be checked."]
    mine = [r for r in found.records if r.sensitive_id == id]
    return [_checked(id, charges, accesses(mine)), *_all_runs(id, ledger, mine)]


def _checked(id: str, charges: list[Charge], paid: list[Paid]) -> str:
    known = {charge.id: charge.events for charge in charges}
    wrong = [access for access in paid if known.get(access.id) != access.events]
    if wrong:
        return f"WARNING: {words.count(len(wrong), 'access')} of this run cannot be found in the ledger of {id}."
    return f"The ledger of {id} verifies, and all {words.count(len(paid), 'access')} of this run are in it."


def _all_runs(id: str, ledger: Ledger, mine: Sequence[Record]) -> list[str]:
    return [
        f"Everything that all runs ever asked of {id} costs epsilon {words.epsilon(value)} at delta {delta:g}: {why}."
        for delta in sorted({record.budget.delta for record in mine}, reverse=True)
        for value, why in [statement.total(ledger.lines(), delta)]
    ]


def covered(found: Facts) -> str:
    """What the total covers."""
    scored = any(metric.event is not None for metric in found.metrics.values())
    splits = "the training or the validation split" if scored else "the training split"
    return (
        f"A guarantee protects {words.UNIT} in {splits} of the sensitive set ({words.ADJACENCY}). The total covers "
        f"every generator, every synthetic image and every noisy answer of {found.said.private} together, also when "
        "they are all published."
    )


def not_covered(found: Facts) -> list[str]:
    """What no epsilon of this run covers, one plain sentence or two each."""
    return [
        *_numbers(found), *found.said.steering(found), *_rows(found), found.said.known(),
        "Not covered: several images of the same person. If one person is in k images, the protection of "
        "that person is weaker than the epsilon says. A copy of an image is another image.",
        "Not covered: the arithmetic is that of floating point; one image more may change how sums round.",
    ]  # fmt: skip


class LooksShown(Frozen):
    """Values of a metric that were computed from a split without noise, and how many of them the run shows."""

    metric: str
    split: str
    values: int


def looks(found: Facts) -> tuple[LooksShown, ...]:
    """Everything without noise that a reader of the run sees: a line a metric and split, and one a row without privacy.

    Of a private selection the winner only: how many were looked at would tell K.
    """
    seen: Counter[tuple[str, str]] = Counter(
        (metric.name, touch.removeprefix("private-"))
        for record in found.records for metric in record.metrics if metric.event is None
        for touch in metric.touches if touch.startswith("private-")
    )  # fmt: skip
    rows = Counter((f"images of {record.method}", "train") for record in found.records if not record.private)
    return tuple(LooksShown(metric=name, split=split, values=n) for (name, split), n in [*seen.items(), *rows.items()])


def _numbers(found: Facts) -> list[str]:
    dagger = [metric for metric in found.metrics.values() if metric.non_private]
    if not dagger:
        return []
    names = words.listed([words.metric(metric) for metric in dagger])
    return [
        f"Not covered: the values of {names}. They were computed from {words.touched(dagger)} without noise. "
        "They are for the people who may see those images; nothing bounds what such a number reveals about "
        "one of them."
    ]


def _rows(found: Facts) -> list[str]:
    rows = list(dict.fromkeys(record.method for record in found.records if not record.private))
    if not rows:
        return []
    return [
        f"Not covered: {words.count(len(rows), 'comparison row')} without privacy ({words.listed(rows)}), made from "
        "the sensitive images without any noise. In the ledger this is a diagnostic; the images are not shown and "
        "the generators cannot be pulled."
    ]
