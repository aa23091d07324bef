"""CoveredLedger: the ledger as a trial of a private selection sees it. The selection was charged as a whole.

The number of trials must stay hidden, so their accesses do not appear one by one in the ledger of the sensitive set.
They are kept in an inner ledger of the same kind, which never leaves the folder, for what a ledger does after a crash:
an access that was begun is finished with the same noise, and an answer that was paid for is never asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from privimage.disk import private_folder
from privimage.errors import LostAnswer
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.budget import Event
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look, Seen
from privimage.privacy.receipt import Receipt


class CoveredLedger:
    """Charges of one trial of the selection that `ledger` knows by the id `selection`, at the price `cost`."""

    def __init__(self, ledger: Ledger, *, inner: Path, selection: str, cost: BestOf) -> None:
        self.path = inner
        self.outer, self._inner = ledger, Ledger(inner, under=selection)
        self._selection, self._cost = selection, cost

    def charge(self, *, id: str, what: str, events: Sequence[Cost], noise: str | None = None) -> bool:
        """True if the access was not known yet. A question that all trials share is charged to the ledger itself.

        Raises as `Ledger.charge`; LostAnswer if the selection has not been charged, BudgetExceeded if the trials that
        were drawn do not count it.
        """
        if _shared(events):
            return self.outer.charge(id=id, what=what, events=events, noise=noise)
        if not self.outer.charged(self._selection):
            raise LostAnswer(f"{self.outer.path}: the selection {self._selection[:12]} is not charged there")
        return self._inner.charge(id=id, what=what, events=events, noise=noise)

    def open(self, *, trials: int) -> None:
        """Let so many trials be charged, and none beyond: a training and a score each. The same again is free.

        Raises LostAnswer if this was done before and nothing that it wrote is there: with it went what trials asked.
        """
        bill = (AnyOf(events=self._cost.events, times=trials), AnyOf(events=(self._cost.score,), times=trials))
        private_folder(self.path.parent)
        if self.outer.charged(self._selection) and not self._inner.lines():
            raise LostAnswer(
                f"{self.path}: knows nothing of the selection that {self.outer.path} was charged for; restore it from "
                f"a backup of the ledgers, or run privimage ledger adopt {self.outer.path}"
            )
        self._inner.reserve(id=self._selection, what="the trials of a selection", events=bill)

    def look(self, look: Look) -> Seen:
        """As the ledger's own: what a selection looks at without noise is the same whatever K is."""
        return self.outer.look(look)

    def charged(self, id: str) -> bool:
        """Whether this access was charged before, here or in the ledger."""
        return self.outer.charged(id) or self._inner.charged(id)

    def receipt(self, *, id: str, what: str, events: Sequence[Cost]) -> Receipt:
        """What an answer keeps of its charge: that of the selection, unless it was charged to the ledger itself."""
        receipt = self.outer.receipt(id=id, what=what, events=events)
        if _shared(events):
            return receipt
        whole = self.outer.receipt(
            id=self._selection, what=f"the best of K trials, {self._cost.law}", events=(self._cost,)
        )
        return receipt.model_copy(update={"selection": whole})

    def holds(self, receipt: Receipt) -> bool:
        """As Ledger.holds; of an access that a selection covers, both it and the selection."""
        if receipt.selection is None:
            return self.outer.holds(receipt)
        alone = receipt.model_copy(update={"selection": None})
        return self.outer.holds(receipt.selection) and self._inner.holds(alone)


def _shared(events: Sequence[Cost]) -> bool:
    """Whether all trials share the answer: such a question is charged to the ledger itself."""
    return all(isinstance(event, Event) and event.shared is not None for event in events)
