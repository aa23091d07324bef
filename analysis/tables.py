"""Tables: the records of a run as rows, for a notebook, a CSV file or the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import pareto, words
from analysis.facts import Facts
from privimage.record import Record


def trials(found: Facts) -> pd.DataFrame:
    """One row a record, oldest first: its row in the paper's table, what was searched, metrics, price and effort.

    The name of a metric that is a non-private number carries a dagger. `on_front` is about the lead metric. Beside a
    private selection there are no columns of effort.
    """
    paths = found.searched
    ahead = {record.id for record in pareto.front(found.records, metrics=[found.lead.name])}
    return pd.DataFrame([_row(found, record, paths) | {"on_front": record.id in ahead} for record in found.records])


def _row(found: Facts, record: Record, paths: list[str]) -> dict[str, Any]:
    config = pareto.flatten(record.config)
    return {
        "id": record.id, "role": record.role, "method": record.method, "seed": record.seed,
        "budget.epsilon": record.budget.epsilon, "budget.delta": record.budget.delta,
        "epsilon": record.epsilon, "epsilon_rdp": record.epsilon_rdp,
        **{path: config.get(path) for path in paths},
        **{words.metric(metric): record.value(name) for name, metric in found.metrics.items()},
        **(_effort(record) if found.timed else {}),
    }  # fmt: skip


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


def best(found: Facts) -> pd.DataFrame:
    """The best record of every (budget, method) by the lead metric, and how many trials it was chosen from."""
    ahead = {record.id for record in pareto.front(found.records, metrics=[found.lead.name])}
    rows = pareto.best_rows(found.records, metrics=found.ranking)
    return pd.DataFrame(
        [
            {
                "method": method,
                "budget": budget.epsilon,
                "epsilon": words.epsilon(record.epsilon),
                **{words.metric(metric): record.value(name) for name, metric in found.metrics.items()},
                "best of": best_of_how_many([r for r in found.records if (r.budget, r.method) == (budget, method)]),
                "on front": "yes" if record.id in ahead else "",
                "trial": record.id,
            }
            for (budget, method), record in rows.items()
        ]
    )
