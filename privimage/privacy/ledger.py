"""Ledger: one append-only, hash-chained file per sensitive set, charged before the data is touched.

One JSON line a charge. A charge has an id (what is asked, of what); charging the same id again costs nothing and
writes nothing, which is what makes a killed run resumable without paying twice. All sweeps on a set share its ledger.

A sweep reserves its whole bill before it asks anything, and what it then charges must be on that bill (`wall`): a
charge beyond it is refused and not written, whatever became of the sweep's own files. A cap, once written, holds for
the lifetime of the set: what would exceed it is refused, a bill before its sweep starts. A bill counts in full until
it is closed, then only what was charged under it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from privimage.errors import BudgetExceeded, InputError, LostAnswer, Violation
from privimage.privacy import tally, wall
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.book import Book
from privimage.privacy.budget import Budget
from privimage.privacy.cap import Cap
from privimage.privacy.chain import Found, RawLine
from privimage.privacy.entries import ENTRY, Charge, Lines, LookLine, NoLooks, Reserve
from privimage.privacy.looks import Look, Seen
from privimage.privacy.receipt import Receipt

Fields = dict[str, Any] | None


class Ledger(Book):
    """The charges against one sensitive set, in the file `path`. Safe for concurrent processes on one file system.

    `under` is the reservation that its charges are planned in, where they do not name another; without one they are
    charged as they come. `division` is how the set is split, the same for every charge: splits are charged in parallel,
    which holds while they are the same ones. `revision` says which images of the set are asked (`Contents`). With
    `timeless`, every line carries the time at which the reservation was first made: how long a private selection takes
    tells how many trials it has.
    """

    def __init__(
        self,
        path: Path,
        *,
        under: str | None = None,
        division: str | None = None,
        revision: int = 0,
        timeless: bool = False,
    ) -> None:
        super().__init__(path)
        self.under = under
        self.division = division
        self.revision = revision
        self.timeless = timeless

    def charge(
        self, *, id: str, what: str, events: Sequence[Cost], under: str | None = None, noise: str | None = None
    ) -> bool:
        """True if the charge was written (and is on disk), False if this id had been charged before.

        Call it before the data is touched. `under` names the reservation that it was planned in, `noise` is the mark
        of the entropy that keys the answer's noise: a charge pays for one answer. Raises InputError if the ledger is
        damaged or cannot be written, or if the id was charged with other events; LostAnswer if it was charged for
        another noise (by another store); BudgetExceeded, and writes nothing, if that reservation is not open or does
        not count it, or if the cap does not admit it.
        """
        if not all(event.private for event in events):
            raise Violation(f"'{what}' has no noise and so no price: it is a look, not a charge")
        bill = under or self.under
        named = {"under": bill, "division": self.division, "revision": self.revision or None, "noise": noise}
        cited = {name: value for name, value in named.items() if value is not None}

        def fields(lines: Lines) -> Fields:
            old = next((line for line in lines if isinstance(line, Charge) and line.id == id), None)
            if old is not None:
                self._check_charged(old, what, events, noise)
                return None
            self._check_division(lines)
            if bill is not None:
                self._check_bill(lines, bill, what, events)
            return {"kind": "charge", "id": id, "what": what, "events": _plain(events), **cited}

        return self._add(fields)

    def _check_charged(self, old: Charge, what: str, events: Sequence[Cost], noise: str | None) -> None:
        """Raise unless the charge that stands there is this one."""
        if old.events != tuple(events):
            raise InputError(f"{self.path}: charge {old.id[:12]} exists with other events")
        if noise is not None and old.noise != noise:
            raise LostAnswer(
                f"{self.path}: '{what}' was paid for with other noise, in another store; copy the answer from there; "
                "it is never asked again"
            )

    def look(self, look: Look) -> Seen:
        """The proof that this look without noise stands in the ledger, written now if the sweep had none like it.

        Call it before the data is touched. Raises InputError as `charge` does; BudgetExceeded if the set admits none.
        """
        id, under = look.id(by=self.under), {} if self.under is None else {"under": self.under}

        def fields(lines: Lines) -> Fields:
            self._refuse_looks(lines, [look])
            if any(isinstance(line, LookLine) and line.id == id for line in lines):
                return None
            return {"kind": "look", "id": id, "what": look.what, "split": look.split, **under}

        self._add(fields)
        return Seen(split=look.split)

    def check_looks(self, looks: Sequence[Look]) -> None:
        """Raise what `look` would raise for any of these; writes nothing."""
        self._refuse_looks(self.lines(), looks)

    def _refuse_looks(self, lines: Lines, looks: Sequence[Look]) -> None:
        if looks and any(isinstance(line, NoLooks) for line in lines):
            asked = ", ".join(f"{look.what} ({look.split} split)" for look in looks)
            raise BudgetExceeded(f"{self.path}: {tally.no_looks(asked)}")

    def forbid_looks(self) -> bool:
        """True if from now on no look without noise is admitted, False if none was before. It cannot be taken back."""
        return self._add(
            lambda lines: None if any(isinstance(line, NoLooks) for line in lines) else {"kind": "no-looks"}
        )

    def reserve(self, *, id: str, what: str, events: Sequence[Cost]) -> bool:
        """True if a reservation was written; False if the same one is open already.

        Only what it counts can be charged under it. Against a cap it counts in full, with everything charged and
        reserved by others, until `close(id)`. Another price under an open id replaces the older one; a closed id is
        opened again. Raises as `charge` does, and if the price does not count all that was charged under the id.
        """
        return self._add(lambda lines: self._reservation(lines, id=id, what=what, events=events))

    def check(self, *, id: str, what: str, events: Sequence[Cost]) -> None:
        """Raise what `reserve` would raise; writes nothing."""
        found = self.chain.read()
        lines = self._parsed(found)
        fields = self._reservation(lines, id=id, what=what, events=events)
        if fields is not None:
            self._admitted(found, lines, fields)

    def _reservation(self, lines: Lines, *, id: str, what: str, events: Sequence[Cost]) -> Fields:
        """The fields of the line to write; None if the same reservation is open."""
        self._check_division(lines)
        old = tally.open_of(lines).get(id)
        if old is not None and old.events == tuple(events):
            return None
        if not wall.admits(events, tally.charged_under(lines, id)):
            raise BudgetExceeded(
                f"{self.path}: '{what}' is refused: its bill would count less than was charged under it already; put "
                "back what was taken out of the sweep, or give it another name"
            )
        return {"kind": "reserve", "id": id, "what": what, "events": _plain(events)}

    def close(self, id: str) -> bool:
        """True if a reservation of that id was open and is now closed: what was charged under it counts, no more."""
        return self._add(lambda lines: {"kind": "close", "id": id} if id in tally.open_of(lines) else None)

    def set_cap(self, budget: Budget) -> bool:
        """True if the cap was written, False if the set has this cap already.

        Choose it before the first access: a cap that is chosen in the light of earlier answers was not fixed
        beforehand. Raises InputError if the set has another cap, BudgetExceeded if more than this one is spent.
        """

        def fields(lines: Lines) -> Fields:
            old = tally.cap_of(lines)
            if old is not None and old.budget != budget:
                raise InputError(
                    f"{self.path}: has the cap {old.budget} already, for the lifetime of the set; got {budget}"
                )
            return {"kind": "cap", "cap": Cap.of(budget).model_dump(mode="json")} if old is None else None

        return self._add(fields)

    def _check_bill(self, lines: Lines, id: str, what: str, events: Sequence[Cost]) -> None:
        """Raise BudgetExceeded unless the open reservation of that id counts these events, beside all before them."""
        bill = tally.open_of(lines).get(id)
        if bill is None or not tally.fits(lines, bill, events):
            raise BudgetExceeded(f"{self.path}: {tally.beyond_bill(what, lines, id)}")

    def _check_division(self, lines: Lines) -> None:
        """Raise InputError if the set was split in another way: what was validation there would be training here."""
        for line in lines:
            if isinstance(line, Charge) and self.division and line.division != self.division:
                before = "in a way that is not written down" if line.division is None else f"as '{line.division}'"
                raise InputError(
                    f"{self.path}: the set was split {before} when it was first asked, and its splits are charged "
                    f"in parallel; got '{self.division}'; split it as before"
                )

    def _add(self, fields: Callable[[Lines], Fields]) -> bool:
        """Whether a line was added: with the fields that follow from the lines before it; None adds nothing.

        Not where with it more would count than the cap admits: then BudgetExceeded is raised.
        """

        def decide(found: Found) -> RawLine | None:
            lines = self._parsed(found)
            new = fields(lines)
            return None if new is None else self._admitted(found, lines, new)

        return self.chain.add(decide)

    def _admitted(self, found: Found, before: Lines, fields: dict[str, Any]) -> RawLine:
        """The line with these fields. Raises BudgetExceeded if with it more would count than the cap admits."""
        begun = self._begun(before) if self.timeless else None
        line = found.sealed(fields if begun is None else {**fields, "at": begun})
        after = (*before, ENTRY.validate_python(line))
        cap = tally.cap_of(after)
        if cap is not None and not cap.admits(tally.spending(after, cap).counted):
            raise BudgetExceeded(f"{self.path}: {tally.beyond_cap(cap, before, after)}")
        return line

    def begun(self) -> str | None:
        """When the reservation that its charges are planned in was first made; None if it was not."""
        return self._begun(self.lines())

    def _begun(self, lines: Lines) -> str | None:
        return next((line.at for line in lines if isinstance(line, Reserve) and line.id == self.under), None)

    def receipt(self, *, id: str, what: str, events: Sequence[Cost]) -> Receipt:
        """What an answer keeps of its charge."""
        return Receipt(
            set=self.path.stem,
            division=self.division,
            revision=self.revision,
            id=id,
            what=what,
            events=tuple(events),
        )

    @property
    def outer(self) -> Ledger:
        """Where an access is charged in the end: here."""
        return self


def _plain(events: Sequence[Cost]) -> list[dict[str, Any]]:
    return [event.model_dump(mode="json", exclude_none=True) for event in events]
