"""Book: what the file of a ledger says, and whether it can be so. It reads only; a Ledger also writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from privimage.errors import BudgetExceeded, InputError
from privimage.privacy import tally
from privimage.privacy.accounting import epsilon, epsilon_rdp
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.cap import Cap
from privimage.privacy.chain import Found, HeadState, RawLine
from privimage.privacy.chains import open_chain
from privimage.privacy.entries import ENTRY, Charge, Line, Lines, LookLine, Reserve
from privimage.privacy.receipt import Receipt
from privimage.privacy.tally import Spending

_PARSED: dict[Path, tuple[tuple[RawLine, ...], Lines]] = {}  # what this process has parsed last, and what it was


class Book:
    """The lines in the file `path`: charges, looks, reservations and the cap of one sensitive set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = open_chain(path)

    def lines(self) -> Lines:
        """All lines, oldest first. Raises InputError naming the line where the chain is broken."""
        return self._parsed(self.chain.read())

    def _parsed(self, found: Found) -> Lines:
        """The lines of a chain. Those that are what they were when they were parsed are not parsed again."""
        raws, known = _PARSED.get(self.path, ((), ()))
        if found.lines[: len(raws)] != raws:
            known = ()
        new = (self._entry(number, line) for number, line in enumerate(found.lines[len(known) :], start=len(known)))
        lines = (*known, *new)
        _PARSED[self.path] = found.lines, lines
        return lines

    def _entry(self, number: int, line: RawLine) -> Line:
        try:
            return ENTRY.validate_python(line)
        except ValueError:
            raise InputError(f"{self.path}: line {number + 1} is none that this version of privimage knows") from None

    def charges(self) -> list[Charge]:
        """All charges, oldest first. Raises InputError naming the line where the chain is broken."""
        return [line for line in self.lines() if isinstance(line, Charge)]

    def looks(self) -> list[LookLine]:
        """All looks without noise, oldest first; no epsilon covers them."""
        return [line for line in self.lines() if isinstance(line, LookLine)]

    def charged(self, id: str) -> bool:
        """Whether this id was charged before."""
        return any(charge.id == id for charge in self.charges())

    def holds(self, receipt: Receipt) -> bool:
        """Whether what the receipt says was charged, by that id and for those events, to the ledger of that set."""
        if receipt.set != self.path.stem or receipt.selection is not None:
            return False
        return any((charge.id, charge.events) == (receipt.id, receipt.events) for charge in self.charges())

    def settled(self, *, id: str, events: Sequence[Cost]) -> bool:
        """Whether the last reservation of that id had this price and is closed: what it was for is done."""
        lines = self.lines()
        last = next((line for line in reversed(lines) if isinstance(line, Reserve) and line.id == id), None)
        return last is not None and last.events == tuple(events) and id not in tally.open_of(lines)

    def begun_otherwise(self, *, id: str, events: Sequence[Cost]) -> bool:
        """Whether something was charged under a reservation of that id with another price than this."""
        lines = self.lines()
        last = next((line for line in reversed(lines) if isinstance(line, Reserve) and line.id == id), None)
        asked = any(isinstance(line, Charge) and line.under == id for line in lines)
        return asked and last is not None and last.events != tuple(events)

    def reservations(self) -> list[Reserve]:
        """The reservations that are open, oldest first."""
        return list(tally.open_of(self.lines()).values())

    def cap(self) -> Cap | None:
        """The cap of the set, or None."""
        return tally.cap_of(self.lines())

    def spending(self) -> Spending | None:
        """What counts against the cap; None without one."""
        lines = self.lines()
        cap = tally.cap_of(lines)
        return None if cap is None else tally.spending(lines, cap)

    def epsilon(self, delta: float) -> float:
        """Total epsilon at `delta` of every charge, by PLD; looks without noise are listed, not covered.

        The price of all charges together had they been planned before the first of them.
        """
        return epsilon(tally.costs_of(self.charges()), delta)

    def epsilon_filter(self, delta: float) -> float:
        """The same total by RDP, at the order where it is least.

        The price that also holds for charges chosen in the light of earlier answers is the one at an order that was
        fixed beforehand: with a cap, `cap().epsilon(spending().charged)`, which is this or somewhat more.
        """
        return epsilon_rdp(tally.costs_of(self.charges()), delta)

    def verify(self) -> HeadState:
        """Whether the head agrees, lags by the line of a writer that was killed, or is missing.

        Without a head, lines may be missing at the end. Raises InputError if the chain is broken or ends too early, or
        if a file without any line has no head either; and BudgetExceeded if more is charged than the cap or a
        bill admits.
        """
        found = self.chain.read()
        if not found.lines and self.path.exists():  # with a head, `read` refuses it; a wiped ledger looks like this
            raise InputError(
                f"{self.path}: holds no line and has no head beside it, so nothing can be verified; restore both from "
                "a backup, or remove the file if nothing was ever asked of the set"
            )
        lines = self._parsed(found)
        cap = tally.cap_of(lines)
        charged = None if cap is None else tally.spending(lines, cap).charged
        if cap is not None and charged is not None and not cap.admits(charged):
            raise BudgetExceeded(f"{self.path}: {cap.share(charged):.1%} of the cap {cap.budget} is charged")
        for bill in tally.bills(lines):
            if not tally.fits(lines, bill):
                raise BudgetExceeded(
                    f"{self.path}: more is charged under '{bill.what}' ({bill.id[:12]}) than it counts"
                )
        return found.head
