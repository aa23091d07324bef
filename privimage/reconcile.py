"""Reconcile: ledger, store and records check each other. What was paid has to stand in the ledger of its set.

A ledger that was deleted, rolled back, or left behind when a root was copied would say that less was paid than was.
So no paid answer is handed out without its charge. To adopt such answers is to charge again what they say was paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from privimage import record as records
from privimage.data.config import division_of
from privimage.errors import Damaged, InputError, Unpaid
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.privacy.receipt import Receipt
from privimage.record import Record
from privimage.stores.hidden import HiddenStore
from privimage.stores.manifest import read_manifest
from privimage.stores.open import open_store


def refusal(ledger: Ledger, receipt: Receipt, *, where: Path, count: int = 1) -> Unpaid:
    """The error that says which charge is missing, and the two ways on."""
    more = f" (and {count - 1} more)" if count > 1 else ""
    return Unpaid(
        f"{where}: holds an answer that was paid for, '{receipt.what}'{more}, but {ledger.path} does not hold its "
        f"charge; restore the ledger from a backup, or charge it again: privimage ledger adopt {ledger.path}"
    )


def missing(root: Root, set: str) -> dict[Receipt, Path]:
    """What was paid on this set and its ledger does not hold, each with the place that says so, in order of places.

    The receipts of all answers in the store, and of all records. Damaged answers are left out: they are refused when
    they are met.
    """
    receipts: dict[Receipt, Path] = {}
    for receipt, place in (*_stored(root), *_recorded(root)):
        if receipt.set == set:
            receipts.setdefault(receipt, place)
    if not receipts:
        return {}
    # read after the store: an answer is stored after its charge
    charged, covered = _charged(root.ledger(set)), _charged(root.covered(set))

    def held(receipt: Receipt) -> bool:
        whole = receipt.charge
        inside = receipt.selection is None or (receipt.id, receipt.events) in covered
        return inside and (whole.id, whole.events) in charged

    return {receipt: place for receipt, place in receipts.items() if not held(receipt)}


def wholes(receipts: Iterable[Receipt]) -> dict[str, Receipt]:
    """What would stand in the ledger of the set for these receipts, by id: of a private selection the whole."""
    return {receipt.charge.id: receipt.charge for receipt in receipts}


def check(root: Root, set: str) -> None:
    """Raise Unpaid if there is an answer on this set that its ledger was not charged for."""
    found = missing(root, set)
    if found:
        charges = wholes(found)
        first, place = next(iter(found.items()))
        raise refusal(Ledger(root.ledger(set)), first.charge, where=place, count=len(charges))


def adopt(root: Root, set: str, receipts: Iterable[Receipt]) -> int:
    """How many lines were added to the ledger of the set: what these receipts say was paid is charged again.

    Raises as `Ledger.charge`: the wall of the cap holds.
    """
    added, inner = 0, Ledger(root.covered(set))
    for receipt in receipts:
        whole = receipt.charge
        ledger = Ledger(root.ledger(set), division=whole.division, revision=whole.revision)
        added += ledger.charge(id=whole.id, what=whole.what, events=whole.events)
        if receipt.selection is not None:
            inner.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            inner.charge(id=receipt.id, what=receipt.what, events=receipt.events)
    return added


def paid_for(record: Record) -> Iterator[Receipt]:
    """What a record says was charged for it."""
    data = record.config["data"]
    public = data.get("stand_in") or record.sensitive_source == "held-out"  # whose ledger keeps no division
    division = None if public else division_of(data["sensitive"])
    for access in record.paid:
        yield Receipt(
            set=record.sensitive_id,
            division=division,
            revision=record.revision,
            id=access.id,
            what=access.what,
            events=access.events,
        )


def _stored(root: Root) -> Iterator[tuple[Receipt, Path]]:
    shared = open_store(root.store)
    for store in (shared, HiddenStore(shared)):
        for folder in sorted((store.root / "artefacts").glob("*/[!.]*")):
            with suppress(Damaged):
                yield from ((receipt, folder) for receipt in read_manifest(folder).receipts)


def _recorded(root: Root) -> Iterator[tuple[Receipt, Path]]:
    known = {receipt.id for receipt, _ in _stored(root)}  # they know more: how the set was split
    for path in sorted(root.path.glob("*/records.jsonl")):
        with suppress(InputError):  # another run's damage: said when that run goes on
            for record in records.load(path):
                yield from ((receipt, path) for receipt in paid_for(record) if receipt.id not in known)


def _charged(path: Path) -> set[tuple[str, object]]:
    return {(charge.id, charge.events) for charge in Ledger(path).charges()}
