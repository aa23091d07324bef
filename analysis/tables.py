"""Tables: the records of a run as rows, for a notebook, a CSV file or the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from privimage.analysis import pareto, price, scale, words
from privimage.analysis.facts import Facts
from privimage.analysis.repetitions import Repetition
from privimage.record import Record


def trials(found: Facts) -> pd.DataFrame:
    """One row a record, oldest first: its row in the paper's table, prices, what was searched, metrics and effort.

    Column names are plain (small letters, digits, underscores). `epsilon_to_state` is what has to be stated beside
    the generator or the images of that row, `epsilon_alone` what the trial would have cost had it been the only one;
    both are missing where there is no guarantee. `not_private` names the columns that no epsilon covers, or says
    "everything". `on_front` is about the lead metric. Beside a private selection there are no columns of effort.
    """
    ahead = {record.id for record in pareto.front(found.records, metrics=[found.lead.name])}
    holds = not price.contradictions(found)
    rows = [_row(found, record, holds=holds) | {"on_front": record.id in ahead} for record in found.records]
    return pd.DataFrame(rows)


def plain(name: str) -> str:
    """The name of a column that no program has to quote.

    >>> plain("fid[efficientnet-lite0]"), plain("method.query.sigma")
    ('fid_efficientnet_lite0', 'method_query_sigma')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _row(found: Facts, record: Record, *, holds: bool) -> dict[str, Any]:
    """`holds` tells whether the bill counts all that was asked: else nothing may be stated."""
    config = pareto.flatten(record.config)
    return {
        "id": record.id, "role": record.role, "method": record.method, "seed": record.seed,
        "budget_epsilon": record.budget.epsilon, "budget_delta": record.budget.delta,
        "epsilon_to_state": price.stated(found, record).epsilon if record.private and holds else None,
        "epsilon_alone": record.epsilon_alone, "epsilon_alone_rdp": record.epsilon_rdp_alone,
        "not_private": _not_private(record),
        **{plain(path): config.get(path) for path in found.searched},
        **{plain(name): record.value(name) for name in found.metrics},
        **(_effort(record) if found.said.timed else {}),
    }  # fmt: skip


def _not_private(record: Record) -> str:
    """The columns of this row that no epsilon covers, separated by blanks."""
    if not record.private:
        return "everything"
    return " ".join(plain(metric.name) for metric in record.metrics if metric.non_private)


def _effort(record: Record) -> dict[str, Any]:
    return {"seconds": record.seconds, "peak_mib": peak_mib(record), "stages": stages(record)}


def peak_mib(record: Record) -> float | None:
    """Peak memory over the stages of a trial, MiB."""
    return max((stage.peak_mib for stage in record.stages), default=None)


def stages(record: Record) -> str:
    """Every stage and whether it was found (hit), computed here (built) or waited for (joined)."""
    return ", ".join(f"{stage.name} {stage.origin}" for stage in record.stages)


def best_of_how_many(among: Sequence[Record]) -> int | str:
    """How many trials the best was chosen from; of a private selection that is the secret K."""
    return "K" if any(record.selection is not None for record in among) else len(among)


def at_any_budget(found: Facts) -> list[str]:
    """A note on the rows that are the same at every budget, and so stand in a table at the one they were run under."""
    entries = (Repetition(record=record, found=found) for record in found.records)
    same = list(dict.fromkeys(entry.record.method for entry in entries if not entry.by_budget))
    if not same:
        return []
    which = f"{words.listed(same)} {'pays' if len(same) == 1 else 'pay'}"
    return [
        f"What {which}, if anything, does not follow from the budget: the one beside such a row is that which it was "
        "run under; its figures are the same at any that it fits in."
    ]


def best(found: Facts) -> pd.DataFrame:
    """The best record of every (budget, method) by the lead metric, and how many trials it was chosen from."""
    ahead = {record.id for record in pareto.front(found.records, metrics=[found.lead.name])}
    rows = pareto.best_rows(found.records, metrics=found.ranking)
    found_rows: list[dict[str, Any]] = [
        {
            "method": method,
            "budget": budget.epsilon,
            "epsilon alone": words.epsilon(record.epsilon_alone),
            **{words.metric(metric): record.value(name) for name, metric in found.metrics.items()},
            "best of": best_of_how_many([r for r in found.records if (r.budget, r.method) == (budget, method)]),
            "on front": "yes" if record.id in ahead else "",
            "trial": record.id,
        }
        for (budget, method), record in rows.items()
    ]
    named = {name: words.metric(metric) for name, metric in found.metrics.items()}
    rates = [{"method": title, **{named[n]: v for n, v in row.items()}} for title, row in scale.base_rows(found)]
    return pd.DataFrame([*found_rows, *rates])
