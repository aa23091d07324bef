"""Receipt: one charge that was paid, as it is kept beside the answer."""

from __future__ import annotations

from privimage.privacy.accounting.costs import Cost
from privimage.schema import Frozen


class Receipt(Frozen):
    """One charge that was paid for what an artefact holds: in the ledger of `set`, by this id, for these events.

    `division` is how the set was split then, `revision` which images it was. An access that a private selection covers
    was not charged there by itself: `selection` is the charge of the whole.
    """

    set: str
    division: str | None = None
    revision: int = 0
    id: str
    what: str
    events: tuple[Cost, ...]
    selection: Receipt | None = None

    @property
    def charge(self) -> Receipt:
        """What stands in the ledger of the set: this, or the selection that covers it."""
        return self.selection or self
