"""The errors a caller may catch. Each carries one message and survives pickling across processes."""

from __future__ import annotations

from collections.abc import Iterable


class PrivImageError(Exception):
    """Root of every error that privimage raises on purpose."""


class InputError(PrivImageError, ValueError):
    """The user's input cannot be run: a key, a value, a file. The command line exits with 2."""


class BudgetExceeded(InputError):
    """What was asked for costs more privacy than the budget or the ledger's cap allows."""


class SharedTooDear(BudgetExceeded):
    """Answers that all trials share spend a budget alone: what they cost is its epsilon, or more."""

    def __init__(self, budget: object, epsilon: float) -> None:
        super().__init__(str(budget), epsilon)
        self.cost = f"budget {budget}: shared answers alone cost epsilon {epsilon:.3g}"

    def __str__(self) -> str:
        return f"{self.cost}; raise the budget, or give them more noise"

    def naming(self, fields: Iterable[str]) -> BudgetExceeded:
        """The same with the fields that hold their noise, for whoever knows them."""
        return BudgetExceeded(f"{self}: {', '.join(fields)}")


class Damaged(InputError):
    """A stored artefact is not what was stored. The message names the file."""


class Unpaid(InputError):
    """A stored answer was paid for, but its charge is not in the ledger: it is not handed out."""


class LostAnswer(PrivImageError):
    """A private answer was paid for but its record is gone or damaged; it is never asked again silently."""


class TrialFailed(PrivImageError):
    """One trial of a sweep failed; the message names the trial and the cause."""


class NotDone(TrialFailed):
    """A sweep has ended with trials that failed, each with a line in `failures`; the same call goes on."""

    def __init__(self, message: str, failures: tuple[str, ...] = ()) -> None:
        super().__init__(message, failures)
        self.failures = failures
        for line in failures:
            self.add_note(f"failed: {line}")

    def __str__(self) -> str:
        return str(self.args[0])


class Violation(PrivImageError):
    """A fault of privimage itself that would have broken a promise about privacy; nothing was asked. Please report it.

    Raised where other programs have an `assert`: it stays where Python runs with -O.
    """
