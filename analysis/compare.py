"""Compare: the best searched trial against every comparison row, in a table's rows and in honest sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis import pareto, words
from analysis.facts import Facts
from privimage.budget import Budget
from privimage.metrics.metric import Metric
from privimage.record import Record

RIVALS = ("pdp-diffusion", "dpdm", "random-selection")  # expected to be behind at the same epsilon


@dataclass(frozen=True, kw_only=True)
class Row:
    """The best record of a method at a budget, and the records that it was chosen from."""

    record: Record
    among: tuple[Record, ...]


def rows(found: Facts, budget: Budget) -> list[Row]:
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
            chosen.append(Row(record=best, among=tuple(here)))
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
    if mine is None or not (pareto.spends_its_budget(mine.record) or found.shared):
        return [f"At epsilon {budget.epsilon:g} there is no finished trial of {main} to compare."]
    others = [row for row in table if row is not mine]
    metrics = list(found.metrics.values())
    at = f"Within epsilon {budget.epsilon:g} for all" if found.shared else f"At epsilon {budget.epsilon:g}"
    spoken = [_sentence(mine.record, row.record, at, metrics) for row in others]
    return [*spoken, *_caution(found, mine, others)]


def _sentence(main: Record, other: Record, at: str, metrics: Sequence[Metric]) -> str:
    pairs = [
        (metric, a, b) for metric in metrics
        if (a := main.value(metric.name)) is not None and (b := other.value(metric.name)) is not None
    ]  # fmt: skip
    if not pairs:
        return f"{at} {main.method} and {other.method} have no metric in common."
    clauses = words.listed([_clause(metric, a, b) for metric, a, b in pairs])
    gains = [_gain(metric, a, b) > 0 for metric, a, b in pairs]
    return f"{at}, compared with {_named(other)}, {main.method} {clauses}{_conclusion(other, gains)}."


def _named(other: Record) -> str:
    if not other.private:
        return f"{other.method} (no privacy)"
    return (
        f"{other.method} (epsilon {words.epsilon(other.epsilon_alone)})"
        if not pareto.spends_its_budget(other)
        else other.method
    )


def _conclusion(other: Record, gains: Sequence[bool]) -> str:
    if not other.private:
        return ""
    if other.method == "selection-only":
        return _verdict(gains, ": fine-tuning pays", ": fine-tuning does NOT pay", ": fine-tuning pays only in part")
    if other.method in RIVALS:
        order = ": the expected order"
        return _verdict(gains, f"{order} holds", f"{order} does NOT hold", f"{order} holds only in part")
    return ""


def _clause(metric: Metric, a: float, b: float) -> str:
    name = words.metric(metric)
    values = f"({words.number(a)} against {words.number(b)})"
    if a == b:
        return f"has the same {name} {values}"
    if metric.name.startswith("accuracy["):
        return (
            f"is {words.number(abs(a - b) * 100, digits=3)} points of {name} {'higher' if a > b else 'lower'} {values}"
        )
    good = "better" if _gain(metric, a, b) > 0 else "worse"
    return f"has a {'lower' if a < b else 'higher'} ({good}) {name} {values}"


def _gain(metric: Metric, a: float, b: float) -> float:
    return a - b if metric.direction == "max" else b - a


def _verdict(gains: Sequence[bool], yes: str, no: str, part: str) -> str:
    return yes if all(gains) else part if any(gains) else no


def _caution(found: Facts, mine: Row, others: Sequence[Row]) -> list[str]:
    """How the two sides were chosen, which the numbers alone do not say."""
    if not others:
        return ["There is no comparison row at this budget."]
    most = max(len(row.among) for row in others)
    seeds = len({record.seed for record in mine.among})
    name, n = mine.record.method, len(mine.among)
    rows = f"the comparison rows of at most {words.count(most, 'trial')} each"
    if mine.record.selection is not None:
        chosen, favoured = f"{name} is the winner of a private selection, {rows}", True
    elif found.mode == "public":
        best = f", the best of {words.count(n, 'run')}" if n > 1 else ""
        chosen, favoured = f"{name} has settings that a search on public data found{best}, {rows}", True
    else:
        chosen, favoured = (
            f"{name} is the best of {words.count(n, 'trial')} by {words.metric(found.lead)}, {rows}",
            n > most,
        )
    unfair = ": the search favours it" if favoured else ""
    once = "; one seed each, so that small differences may be chance" if seeds == 1 else f"; over {seeds} seeds"
    return [f"Read with care: {chosen}{unfair}{once}."]
