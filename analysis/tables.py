"""Tables: the records of a run as rows, for a notebook, a CSV file or the terminal."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis import pareto, words
from analysis.facts import Facts
from privimage.record import Record


def trials(found: Facts) -> pd.DataFrame:
    """One row a record, oldest first: its row in the paper's table, what was searched, metrics, price and effort.

    The name of a metric that is a non-private number carries a dagger. `on_front` is about the lead metric.
    """
    paths = pareto.searched(found.records)
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
        "seconds": record.seconds, "peak_mib": peak_mib(record), "stages": stages(record),
    }  # fmt: skip


def peak_mib(record: Record) -> float | None:
    """Peak memory over the stages of a trial, MiB."""
    return max((stage.peak_mib for stage in record.stages), default=None)


def stages(record: Record) -> str:
    """Every stage and whether it was found (hit), computed here (built) or waited for (joined)."""
    return ", ".join(f"{stage.name} {stage.origin}" for stage in record.stages)


def best(found: Facts) -> pd.DataFrame:
    """The best record of every (budget, method) by the lead metric, and how many trials it was chosen from."""
    ahead = {record.id for record in pareto.front(found.records, metrics=[found.lead.name])}
    rows = pareto.best_rows(found.records, metric=found.lead)
    return pd.DataFrame(
        [
            {
                "method": method,
                "budget": budget.epsilon,
                "epsilon": words.epsilon(record.epsilon),
                **{words.metric(metric): record.value(name) for name, metric in found.metrics.items()},
                "best of": sum((r.budget, r.method) == (budget, method) for r in found.records),
                "on front": "yes" if record.id in ahead else "",
                "trial": record.id,
            }
            for (budget, method), record in rows.items()
        ]
    )
