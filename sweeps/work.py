"""Work: a sweep that can be run, with everything that was read and computed before its first trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from privimage.data.sets import PublicSet, SensitiveData
from privimage.disk import write_whole
from privimage.errors import InputError, Violation
from privimage.methods.method import Sizes, load
from privimage.paths import RunFolder
from privimage.plain_yaml import to_yaml
from privimage.privacy import guarantee
from privimage.privacy.bill import Bill
from privimage.privacy.budget import Budget
from privimage.privacy.ledger import Ledger
from privimage.stores.public_content import check_public
from privimage.sweeps.price import noise_fields, row_noise
from privimage.sweeps.resume import keep_sigmas, ledger_of, reservation_of
from privimage.sweeps.sweep import Sweep
from privimage.trial import Trial, check

if TYPE_CHECKING:
    from privimage.sweeps.study_store import StudyStore


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the trials of a sweep follow from: the sweep, the noise with which it asks shared questions, its bill."""

    sweep: Sweep
    asked: Mapping[str, float]
    bill: Bill

    def searched(self, params: Mapping[str, Any], *, budget: Budget, seed: int) -> Trial:
        """The trial of the search with these values in the searched fields."""
        noise = self.bill.study(budget).noise
        return self.sweep.trial(budget=budget, seed=seed, asked_sigma=self.asked, noise=noise, overrides=params)

    def searched_id(self, params: Mapping[str, Any], budget: Budget, seed: int) -> str:
        """The id of that trial; empty if these values make none."""
        try:
            return self.searched(params, budget=budget, seed=seed).id
        except InputError:
            return ""

    def key(self, budget: int, params: Mapping[str, Any]) -> str:
        """What tells configurations apart: the trial that these values make at the budget of that number."""
        return self.searched_id(params, self.sweep.budgets[budget], self.sweep.seeds[0])


@dataclass(frozen=True, kw_only=True)
class Work(Terms):
    """A sweep that can be run: its terms, its folder, and its data."""

    folder: RunFolder
    public: PublicSet
    sensitive: SensitiveData
    quiet: bool
    studies: StudyStore | None = None  # where its trials are shown

    def __reduce__(self) -> NoReturn:
        """None may take it to another process or into a file: images go there once, by reference."""
        raise Violation("the images of a sweep would be pickled with its work; hand on its terms")

    @property
    def terms(self) -> Terms:
        """The terms alone: what a process that makes a trial is given, beside a reference to the data."""
        return Terms(sweep=self.sweep, asked=self.asked, bill=self.bill)

    @property
    def sizes(self) -> Sizes:
        """What is public of its data."""
        train = self.sensitive.train
        return Sizes(
            n_train=len(train),
            n_labels=len(train.classes),
            n_public=len(self.public.classes),
            classes=self.public.classes,
            shape=train.shape,
        )

    @property
    def reservation(self) -> str:
        """The name under which the whole bill is reserved in the ledger, where that has a cap."""
        return reservation_of(self.sweep)

    @property
    def ledger(self) -> Ledger:
        """The ledger of the sensitive set."""
        return ledger_of(self.sweep, self.folder.root)

    @cached_property
    def rows(self) -> tuple[Trial, ...]:
        """The comparison rows."""
        return tuple(
            self.sweep.row_trial(row, seed, budget, asked_sigma=self.asked, noise=row_noise(self.bill, budget))
            for row, seed, budget in self.sweep.rows()
        )

    def check(self) -> None:
        """Raise InputError for what can be known to be impossible in any of its trials before anything is charged."""
        n_test, weights = len(self.sensitive.test), self.sweep.features.weights
        for dotted, trial in self.sweep.corner_trials():
            try:
                check(trial, self.sizes, n_test=n_test, weights=weights)
            except InputError as error:
                raise type(error)(f"search.{dotted}: {error}" if dotted in self.sweep.search else str(error)) from None
        for trial in self.rows:
            check(trial, self.sizes, n_test=n_test, weights=weights)
        check_public(self.public, identity=self.sweep.data.identity["public"], store=self.folder.root.store)

    def write(self) -> None:
        """Write the resolved sweep, with which noise it asks, and its bill, beside what it makes."""
        keep_sigmas(self.folder, self.asked)
        write_whole(self.folder.bill, self.bill.model_dump_json(indent=1) + "\n")
        if not self.sweep.data.stand_in:  # what was asked of public data states no price
            write_whole(self.folder.guarantee, guarantee.as_json(self.bill))
        plain = self.sweep.model_dump(mode="json")
        write_whole(self.folder.sweep, to_yaml(plain))


def warnings(work: Work) -> list[str]:
    """A line for everything that the search is likely to try in vain, as its methods see it."""
    configs: dict[str, list[Any]] = {}
    noise = [field for field in noise_fields(work.sweep) if field in work.sweep.search]
    for dotted, trial in work.sweep.corner_trials():
        if not noise or dotted in noise:  # else the fixed noise of a shared answer is not tried
            configs.setdefault(trial.method.name, []).append(trial.method)
    said = (line for name, found in configs.items() for line in load(name).warnings(found, work.sizes))
    return list(dict.fromkeys(said))
