"""Private selection: all its trials, drawn before the first one, and its winner, which is all that leaves.

The number of trials and their configurations follow from 256 bits of the operating system's entropy, which is written
down (`internal`, and kept) before the selection is charged. So the same command after a crash finds the same trials:
nothing is drawn again, and none is dropped because it failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from privimage import record as records
from privimage.disk import private_folder
from privimage.errors import InputError, LostAnswer, TrialFailed, Violation
from privimage.methods.method import load
from privimage.paths import RunFolder
from privimage.privacy.accounting.costs import BestOf, Cost
from privimage.privacy.bill import Bill, Study
from privimage.privacy.budget import Event
from privimage.privacy.covered import CoveredLedger
from privimage.privacy.entropy import Entropy
from privimage.privacy.ledger import Ledger
from privimage.record import Paid, Record, untimed
from privimage.record_file import so_far
from privimage.schema import digest
from privimage.stores.file import FileStore
from privimage.stores.hidden import HiddenStore, level_times
from privimage.stores.open import open_store
from privimage.stores.store import Built, Store
from privimage.sweeps.looks import looks_of
from privimage.sweeps.phase import Phase
from privimage.sweeps.resume import dumped
from privimage.sweeps.space import Choice, Dimension, Integers, LogUniform, Uniform
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.work import Work
from privimage.trial import Draw, Trial


def selected(work: Work) -> Iterator[Phase]:
    """All trials of every selection beside the comparison rows; then, if every trial has its record, its winners."""
    ledger, store = work.ledger, open_store(work.folder.root.store)
    selections = [PrivateSelection(work.sweep, study, work.bill, asked_sigma=work.asked) for study in work.bill.studies]
    private_folder(work.folder.internal_ray.parent)
    for look in looks_of(work.sweep):  # now, not by the first trial that gets there
        ledger.look(look)
    inner = work.folder.root.covered(work.sweep.data.sensitive.id)
    drawn = [selection.begin(ledger=ledger, store=store, inner=inner) for selection in selections]
    yield Phase(
        work=work,
        name="selection",
        rows=work.rows,
        drawn=tuple(trial for trials in drawn for trial in trials),
        selections={selection.id: selection.cost for selection in selections},
    )
    for selection, trials in zip(selections, drawn, strict=True):
        selection.finish(trials, folder=work.folder)


class PrivateSelection:
    """The selection of a sweep at one budget: what it costs, its trials, and how it ends."""

    def __init__(self, sweep: Sweep, study: Study, bill: Bill, *, asked_sigma: Mapping[str, float]) -> None:
        (cost,) = study.search
        if not isinstance(cost, BestOf):
            raise Violation("the search of a selection is paid as one selection")
        self.cost, self._study, self._bill = cost, study, bill
        self._sweep, self._asked = sweep, asked_sigma
        fixed = dumped(sweep, without={"resources", "compare", "metrics", "budgets", "trials"})
        inputs = {"sweep": fixed, "budget": study.budget, "cost": cost, "asked": dict(asked_sigma)}
        self.id = digest({"kind": "selection", **inputs})
        self.what = f"{sweep.name}: the best of K trials at epsilon {study.budget.epsilon:g}, {cost.law}"

    def begin(self, *, ledger: Ledger, store: Store, inner: Path) -> tuple[Trial, ...]:
        """All its trials, drawn and charged now, or as they were when it first began; what they ask goes to `inner`.

        Raises LostAnswer if it was charged but what was drawn is gone: drawing again would be another selection.
        """
        name = f"trials-{self.id}"
        if ledger.charged(self.id) and not store.has_entropy(name):
            raise LostAnswer(
                f"{store.root}/internal/{name}.seed: missing or damaged, though {ledger.path} was charged for this "
                "selection; restore it from a backup of the store; a number of trials is never drawn again"
            )
        entropy = store.entropy(name)
        count = self.cost.law.draw(entropy)
        CoveredLedger(ledger, inner=inner, selection=self.id, cost=self.cost).open(trials=count)
        ledger.charge(id=self.id, what=self.what, events=(self.cost,), noise=entropy.mark)
        return tuple(
            self._sweep.trial(
                budget=self._study.budget,
                seed=self._sweep.seeds[0],
                asked_sigma=self._asked,
                noise=self._study.noise,
                draw=Draw(selection=self.id, number=number),
                overrides=params,
            )
            for number, params in enumerate(self._configurations(entropy, count))
        )

    def _configurations(self, entropy: Entropy, count: int) -> list[dict[str, Any]]:
        """So many independent draws from the space, every field on its own."""
        space = self._sweep.space
        uniforms = entropy.stream("configurations").uniforms(count, len(space)).tolist()
        return [{field: _at(u, space[field]) for field, u in zip(space, row, strict=True)} for row in uniforms]

    def finish(self, trials: Sequence[Trial], *, folder: RunFolder) -> None:
        """Write the winner's record, and its generator and images as released.

        Raises TrialFailed if a trial has no record yet: the best of those that happened to succeed would be another
        selection than the one that was paid for.
        """
        by_id = {record.id: record for record in so_far(folder.internal_records)}
        if not all(trial.id in by_id for trial in trials):
            raise TrialFailed(f"{self.what}: not all its trials have ended; run the same command again")
        (objective,) = self._sweep.objectives
        winner = records.best([by_id[trial.id] for trial in trials], metric=objective, direction="max")
        if winner is None:
            raise Violation(f"{self.what}: none of its trials has a score")
        if self.id[:16] not in {record.id for record in so_far(folder.records)}:
            # In this root alone: when it came to a shelf would tell how long the selection took.
            artefacts = _release(self.id, winner, FileStore(folder.root.store))
            records.append(folder.records, self._public(winner, artefacts))

    def _public(self, winner: Record, artefacts: dict[str, str]) -> Record:
        """The winner's record with the price of the selection, without what tells of the other trials.

        Its place among them bounds K from below, so neither its number nor a name that is made from it leaves.
        """
        selection = Paid(id=self.id, what=self.what, events=(self.cost,))
        queries = tuple(access for access in winner.paid if all(_shared(event) for event in access.events))
        return untimed(winner).model_copy(
            update={
                "id": self.id[:16],
                "config": {key: value for key, value in winner.config.items() if key != "draw"},
                "epsilon_alone": self._bill.epsilon_of(self._study),
                "epsilon_rdp_alone": self._bill.epsilon_rdp_of(self._study),
                "selection": self.cost,
                "paid": (*queries, selection),
                "artefacts": artefacts,
            }
        )


def _shared(cost: Cost) -> bool:
    """Whether all trials share the answer, so that it tells of none of them."""
    return isinstance(cost, Event) and cost.shared is not None


def level(ledger: Ledger, folder: RunFolder) -> None:
    """Give what a sweep leaves outside internal folders the time at which it began: how long it took tells of K."""
    with suppress(InputError):  # it was said before why the ledger cannot be read
        begun = ledger.begun()
        if begun is not None:
            at = datetime.fromisoformat(begun).timestamp()
            level_times(folder.path, folder.root.store, ledger.path.parent, at=at)


def _at(u: float, dimension: Dimension) -> Any:
    """The value of the dimension at the share u in [0, 1) of its range."""
    match dimension:
        case Choice(choice=values):
            return values[int(u * len(values))]
        case Integers(integers=(low, high)):
            return low + int(u * (high - low + 1))
        case Uniform(uniform=(low, high)):
            return min(high, low + u * (high - low))
        case LogUniform(log_uniform=(low, high)):
            return min(high, low * (high / low) ** u)


def _release(selection: str, winner: Record, store: Store) -> dict[str, str]:
    """The winner's artefacts that may leave, copied as released to keys that depend on the selection only."""
    kept, artefacts = {}, winner.artefacts
    hidden = HiddenStore(store)
    for kind in (kind for kind in load(winner.method).releases if kind in artefacts):
        found = hidden.get(kind, artefacts[kind])
        if found is None:
            raise LostAnswer(f"{hidden.folder(kind, artefacts[kind])}: gone; restore it from a backup of the store")
        kept[kind] = digest({"released": selection, "kind": kind})
        manifest = found.manifest
        receipts = tuple(dict.fromkeys(receipt.charge for receipt in manifest.receipts))  # of the whole, none inside it
        built = Built(
            arrays=found.arrays, privacy="released", events=manifest.events, receipts=receipts, meta=manifest.meta
        )
        store.put(kind, kept[kind], built)
    return kept
