"""Bill: everything that a sweep may ask of the sensitive set, and what that costs, stated before anything is asked.

A study is the search at one budget. What its trials may ask is fixed before the first one: how many there are (or the
law of their number), and which accesses a configuration may need. So the price holds whatever the sampler does:

explore    The sampler chooses configurations after it has seen results, and with them the accesses. Two bounds hold
           for that, and `accounting.epsilon` takes the smaller one. (a) One pair of distributions dominates each access
           that may be chosen, so the declared number of copies of it dominates their adaptive composition (`AnyOf`).
           (b) Renyi divergences: the largest of each access at one order, times their number, is a bound fixed
           beforehand, which a Renyi filter at that order never stops before (Feldman and Zrnic 2021). The
           privacy losses of the accesses that happened to be chosen may not simply be convolved, and are not.
select     K trials, K from a law; the best by a noisy score is released (`BestOf`, proof in `bounds`).
public     The search never sees the sensitive set; each budget ends in one run on it (for every seed), which meets the
           budget together with the query, however much of the answer's precision its settings use.

The query is asked once for all studies. Comparison rows are fixed beforehand and add their own accesses.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from privimage.errors import BudgetExceeded, SharedTooDear, Violation
from privimage.privacy.accounting import epsilon, epsilon_rdp, least
from privimage.privacy.accounting.costs import AnyOf, BestOf, Cost
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.modes import Covers, ModeName
from privimage.privacy.noise import Noise
from privimage.schema import Frozen

MOST_NOISE = 1e4  # as a multiple of what one trial alone would need


class Search(Frozen):
    """What the search of a study may ask: its trainings, how many scores a trial takes, how many trials there are.

    Trials that differ in post-processing only share a training, and those that make the same images a score: `trained`
    and `scored` are how many different ones there may be in all; None where every trial has its own.

    `law` in place of `trials` for a private selection. `shared` are the answers that every trial uses, at the most
    noise that one may need: they decide how much of a trial's own budget is left for training.
    """

    trainings: tuple[Access, ...]
    scores: int = 0
    trials: int = Field(default=0, ge=0)
    trained: int | None = Field(default=None, ge=0)
    scored: int | None = Field(default=None, ge=0)
    law: Law | None = None
    shared: tuple[Event, ...] = ()


class Study(Frozen):
    """The search at one budget with its price. `rows` are the trainings of comparison rows at this budget."""

    budget: Budget
    noise: Noise
    trainings: tuple[Event, ...]
    score: Event | None
    scores: int
    trials: int
    trained: int | None = None
    scored: int | None = None
    law: Law | None
    rows: tuple[Event, ...] = ()

    @property
    def trainings_asked(self) -> int:
        """How many different trainings the search may ask, at most."""
        return self.trials if self.trained is None else self.trained

    @property
    def scores_asked(self) -> int:
        """How many different scores the search may ask, at most."""
        return self.trials * self.scores if self.scored is None else self.scored

    @property
    def search(self) -> tuple[Cost, ...]:
        """What the search asks, without the shared query."""
        if self.law is not None:
            if self.score is None:
                raise Violation("a private selection is decided by a score that is charged")
            return (BestOf(law=self.law, events=self.trainings, score=self.score),)
        costs: list[Cost] = []
        if self.trainings_asked and self.trainings:
            costs.append(AnyOf(events=self.trainings, times=self.trainings_asked))
        if self.scores_asked and self.score is not None:
            costs.append(AnyOf(events=(self.score,), times=self.scores_asked))
        return tuple(costs)


class Bill(Frozen):
    """The price of a sweep: `queries` are asked once for all studies, each at the least noise that one needs."""

    mode: ModeName
    covers: Covers
    queries: tuple[Cost, ...]  # questions that all trials share; AnyOf where there are more than trials
    studies: tuple[Study, ...]

    @property
    def together(self) -> bool:
        """Whether everything together meets the budget, comparison rows included."""
        return self.covers == "sweep"

    @property
    def beyond_a_trial(self) -> bool:
        """Whether a budget covers more than one trial's own accesses, so that a trial alone costs less than it."""
        return self.covers in ("sweep", "run")

    @property
    def costs(self) -> tuple[Cost, ...]:
        """Everything: queries, all studies, all comparison rows."""
        return (*self.queries, *(cost for study in self.studies for cost in (*study.search, *study.rows)))

    @property
    def deltas(self) -> list[float]:
        """The deltas that budgets name, largest first."""
        return sorted({study.budget.delta for study in self.studies}, reverse=True)

    def epsilon(self, delta: float) -> float:
        """The price of showing everything that the sweep makes."""
        return epsilon(self.costs, delta)

    def epsilon_of(self, study: Study) -> float:
        """The price of what this study alone shows: its search and the query, without comparison rows."""
        return epsilon((*self.queries, *study.search), study.budget.delta)

    def epsilon_rdp_of(self, study: Study) -> float:
        """As `epsilon_of`, by RDP."""
        return epsilon_rdp((*self.queries, *study.search), study.budget.delta)

    def study(self, budget: Budget) -> Study:
        """The study at this budget."""
        return next(study for study in self.studies if study.budget == budget)


def price_trials(budget: Budget, search: Search, *, rows: tuple[Event, ...] = ()) -> Study:
    """A study in which every trial meets the budget by itself."""
    return _study(budget, search, Noise(), rows=rows)


def price_sweep(
    budget: Budget,
    search: Search,
    *,
    queries: tuple[Cost, ...],
    rows: tuple[Access, ...] = (),
    outside: tuple[Event, ...] = (),
) -> Study:
    """A study that meets the budget as a whole, shared query and these comparison rows included.

    Rows that stand `outside` meet the budget one by one, and add to what everything together costs.
    """

    def priced(noise: Noise) -> Study:
        return _study(budget, search, noise, rows=tuple(noise.solve(budget, row) for row in rows))

    return _solve(budget, priced, queries, outside=outside, what=f"{search.trials} trials that share it")


def price_selection(budget: Budget, search: Search, *, queries: tuple[Cost, ...], rows: tuple[Event, ...]) -> Study:
    """A private selection that meets the budget with the query, all that its winner reveals included.

    Comparison rows stand outside, as in `price_sweep`.
    """
    if search.law is None:
        raise Violation("a private selection needs the law of its number of trials")
    return _solve(
        budget,
        lambda noise: _study(budget, search, noise, rows=()),
        queries,
        outside=rows,
        what=f"a selection with {search.law}",
    )


def _study(budget: Budget, search: Search, noise: Noise, *, rows: tuple[Event, ...]) -> Study:
    trainings = tuple(noise.solve(budget, option, others=search.shared) for option in search.trainings)
    score = noise.dp_score(budget, times=search.scores) if search.scores else None
    return Study(
        budget=budget,
        noise=noise if noise.training is not None else noise.model_copy(update={"floor": trainings}),
        trainings=trainings,
        score=score,
        scores=search.scores,
        trials=search.trials,
        trained=search.trained,
        scored=search.scored,
        law=search.law,
        rows=rows,
    )


def _solve(
    budget: Budget,
    priced: Callable[[Noise], Study],
    queries: tuple[Cost, ...],
    *,
    outside: tuple[Event, ...],
    what: str,
) -> Study:
    """The study with the least noise that meets the budget: factors of training and score, each for its own split.

    The rows that are priced with it count; those `outside` are put beside them.
    """
    spent = epsilon(queries, budget.delta)
    if spent >= budget.epsilon:
        raise SharedTooDear(budget, spent)

    def total(noise: Noise) -> float:
        study = priced(noise)
        return epsilon((*queries, *study.search, *study.rows), budget.delta)

    quiet = Noise(training=MOST_NOISE, score=MOST_NOISE)  # the other split must not decide
    training = least(
        lambda x: total(quiet.model_copy(update={"training": x})), target=budget.epsilon, low=1.0, high=MOST_NOISE
    )
    score = least(
        lambda x: total(quiet.model_copy(update={"score": x})), target=budget.epsilon, low=1.0, high=MOST_NOISE
    )
    if training is None or score is None:
        raise BudgetExceeded(
            f"budget {budget}: cannot be met by {what}, with any noise; fewer trials or a larger budget"
        )
    study = priced(Noise(training=training, score=score))
    if total(study.noise) > budget.epsilon:
        raise BudgetExceeded(
            f"budget {budget}: missed by the noise that was found for it; this is a fault of privimage"
        )
    return study.model_copy(update={"rows": (*study.rows, *outside)})
