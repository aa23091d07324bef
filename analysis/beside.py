"""Beside: the best searched trial beside every comparison row of its run, in a table and in honest sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privimage.analysis import methods, pareto, scale, words
from privimage.analysis.facts import Facts
from privimage.analysis.modes.mode import Said
from privimage.analysis.scale import MeanValue
from privimage.metrics.metric import Metric
from privimage.privacy.budget import Budget
from privimage.record import Record

BEHIND = ("rival", "control")  # roles of what is expected to be behind at the same epsilon


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The best record of a method at a budget, and the records that it was chosen from."""

    record: Record
    among: tuple[Record, ...]


def rows(found: Facts, budget: Budget) -> list[Compared]:
    """One row a method at this budget, the searched one first, each chosen by the first objective.

    Rows that do not spend a budget (no guarantee, or the query alone) were perhaps run once and stand in each table.
    """
    chosen = []
    for method in pareto.methods(found.records):
        mine = [record for record in found.records if record.method == method]
        here = [record for record in mine if record.budget == budget]
        here = here or [record for record in mine if _fits(record, budget)]
        best = found.best_of(here)
        if best is not None:
            chosen.append(Compared(record=best, among=tuple(here)))
    return chosen


def _fits(record: Record, budget: Budget) -> bool:
    """Whether a record of another budget may stand in this table: it has no epsilon, or a smaller one of its own."""
    if record.epsilon_alone is None:
        return True
    return record.epsilon_alone <= budget.epsilon and not pareto.spends_its_budget(record)


def sentences(found: Facts, budget: Budget) -> list[str]:
    """What the table at this budget shows: one sentence a comparison row, and how far to trust it."""
    table = rows(found, budget)
    main = pareto.main_method(found.records)
    mine = next((row for row in table if row.record.method == main), None)
    if mine is None or not (pareto.spends_its_budget(mine.record) or found.bill.beyond_a_trial):
        return [f"At budget {budget.epsilon:g} there is no finished trial of {main} to compare."]
    others = [row for row in table if row is not mine]
    at = f"Within budget {budget.epsilon:g} for all" if found.bill.beyond_a_trial else f"At budget {budget.epsilon:g}"
    return [*(_sentence(found, mine, row, at) for row in others), *_caution(found, mine, others)]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of two rows: `told` is whether they can be told apart, and neither by a guess."""

    metric: Metric
    mine: MeanValue
    other: MeanValue
    guesses: bool  # whether the searched method is no better than naming one class

    @property
    def told(self) -> bool:
        """Whether a conclusion may rest on it."""
        return not self.guesses and self.mine.told_from(self.other)

    @property
    def better(self) -> bool:
        """Whether the searched method has the better value."""
        return (self.mine.value > self.other.value) == (self.metric.direction == "max")


def _differences(found: Facts, mine: Compared, other: Compared) -> list[Difference]:
    found_ = []
    for name, metric in found.metrics.items():
        a = scale.estimate(scale.same_settings(mine.record, mine.among), name)
        b = scale.estimate(scale.same_settings(other.record, other.among), name)
        if a is not None and b is not None:
            floor = scale.base(found, name).floor
            guesses = floor is not None and a.value - floor <= (a.error or 0.0) and b.value - floor <= (b.error or 0.0)
            found_.append(Difference(metric=metric, mine=a, other=b, guesses=guesses))
    return found_


def _sentence(found: Facts, mine: Compared, other: Compared, at: str) -> str:
    main, rival = mine.record, other.record
    pairs = _differences(found, mine, other)
    if not pairs:
        return f"{at} {main.method} and {rival.method} have no metric in common."
    clauses = words.listed([_clause(pair, rival.method) for pair in pairs])
    return f"{at}, compared with {_named(rival)}, {main.method} {clauses}{_conclusion(main, rival, pairs)}."


def _named(other: Record) -> str:
    if not other.private:
        return f"{other.method} (no privacy)"
    return (
        f"{other.method} (epsilon {words.epsilon(other.epsilon_alone)})"
        if not pareto.spends_its_budget(other)
        else other.method
    )


def _conclusion(main: Record, other: Record, pairs: Sequence[Difference]) -> str:
    """What follows, where a difference can be told from chance; nothing where it is not asked for."""
    if not other.private:
        return ""
    if part := methods.lacks(other, beside=main):
        return _verdict(pairs, f"{part} pays", f"{part} does NOT pay", f"{part} pays only in part")
    if methods.role(other.method) in BEHIND:
        order = "the expected order"
        return _verdict(pairs, f"{order} holds", f"{order} does NOT hold", f"{order} holds only in part")
    return ""


def _verdict(pairs: Sequence[Difference], yes: str, no: str, part: str) -> str:
    told = [pair for pair in pairs if pair.told]
    better = [words.metric(pair.metric) for pair in told if pair.better]
    worse = [words.metric(pair.metric) for pair in told if not pair.better]
    open_ = [words.metric(pair.metric) for pair in pairs if not pair.told]
    if not told:
        return ": no difference can be told from chance"
    rest = f"; by {words.listed(open_)} no difference can be told from chance" if open_ else ""
    if better and worse:
        return f": {part}, better by {words.listed(better)} and worse by {words.listed(worse)}{rest}"
    return f": {yes if better else no}, by {words.listed(better or worse)}{rest}"


def _clause(pair: Difference, rival: str) -> str:
    name, a, b = words.metric(pair.metric), pair.mine.value, pair.other.value
    values = f"({words.number(a)} against {words.number(b)})"
    if pair.guesses:
        return f"guesses by {name}, as {rival} does, {values}"
    if a == b:
        return f"has the same {name} {values}"
    if not pair.metric.share:
        means = f" ({'better' if pair.better else 'worse'})" if pair.told else ""
        return f"has a {'lower' if a < b else 'higher'}{means} {name} {values}"
    points = f"{words.number(abs(a - b) * 100, digits=3)}{_error(pair)} points of {name}"
    return f"is {points} {'higher' if a > b else 'lower'} {values}"


def _error(pair: Difference) -> str:
    if pair.mine.error is None or pair.other.error is None:
        return ""
    return f" ± {100 * math.hypot(pair.mine.error, pair.other.error):.2g}"


def _caution(found: Facts, mine: Compared, others: Sequence[Compared]) -> list[str]:
    """How the two sides were chosen, which the numbers alone do not say."""
    if not others:
        if any(record.role == "compare" for record in found.records) and not any(
            record.metrics for record in found.records if record.role == "compare"
        ):
            return [
                f"The comparison rows have no {words.metric(found.lead)}: it is asked of the search alone. Name a "
                "metric without noise in `metrics`, such as accuracy[cnn], to compare them by numbers."
            ]
        return ["There is no comparison row at this budget."]
    most = max(len(row.among) for row in others)
    seeds = len({record.seed for record in mine.among})
    n = len(mine.among)
    rows = f"the comparison rows of at most {words.count(most, 'trial')} each"
    said = found.said if mine.record.role == "search" else Said()
    chosen, favoured = f"{said.chosen(found, mine.record, n)}, {rows}", said.favoured or n > most
    unfair = ": the search favours it" if favoured else ""
    return [f"Read with care: {chosen}{unfair}.", _spread(found, mine, seeds)]


def _spread(found: Facts, mine: Compared, seeds: int) -> str:
    """What the margins hold of chance, and what they do not."""
    others = [words.metric(metric) for metric in found.metrics.values() if not metric.share]
    bars = "± is two standard errors of the number of test images" + (" and of the seeds" if seeds > 1 else "")
    ratio = f"; a difference of {words.listed(others)} counts from a third of the larger value on" if others else ""
    drawn = "the noise of shared answers was drawn once for all trials, and another draw may move every number"
    if seeds > 1:
        return f"{bars}; {words.count(seeds, 'seed')}; {drawn}."
    return f"{bars}{ratio}; there is one seed each, so the spread over trainings is unknown; {drawn}."
