"""Tables: the records of a run as rows, for a notebook, a CSV file or the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis import front, words
from analysis.facts import Facts
from privimage.record import Record


def trials(facts: Facts) -> pd.DataFrame:
    """One row a record, oldest first: its row in the paper's table, what was searched, metrics, price and effort.

    The name of a metric that is a non-private number carries a dagger. `on_front` is about the first objective.
    """
    paths = front.searched(facts.records)
    ahead = {record.id for record in front.front(facts.records, metrics=[facts.lead.name])}
    return pd.DataFrame([_row(facts, record, paths) | {"on_front": record.id in ahead} for record in facts.records])


def _row(facts: Facts, record: Record, paths: list[str]) -> dict[str, Any]:
    config = front.flatten(record.config)
    return {
        "id": record.id, "role": record.role, "method": record.method, "seed": record.seed,
        "budget.epsilon": record.budget.epsilon, "budget.delta": record.budget.delta,
        "epsilon": record.epsilon, "epsilon_rdp": record.epsilon_rdp,
        **{path: config.get(path) for path in paths},
        **{words.metric(metric): record.value(name) for name, metric in facts.metrics.items()},
        "seconds": record.seconds, "peak_mib": peak_mib(record), "stages": stages(record),
    }  # fmt: skip


def peak_mib(record: Record) -> float | None:
    """Peak memory over the stages of a trial, MiB."""
    return max((stage.peak_mib for stage in record.stages), default=None)


def stages(record: Record) -> str:
    """Every stage and whether it was found (hit), computed here (built) or waited for (joined)."""
    return ", ".join(f"{stage.name} {stage.origin}" for stage in record.stages)


def best(facts: Facts) -> pd.DataFrame:
    """The best record of every (budget, method) by the first objective, with how many it was chosen from."""
    paths = front.searched(facts.records)
    rows = front.best_rows(facts.records, metric=facts.lead)
    return pd.DataFrame(
        [
            _row(facts, record, paths)
            | {"chosen_from": sum((r.budget, r.method) == (budget, method) for r in facts.records)}
            for (budget, method), record in rows.items()
        ]
    )


def write_csv(table: pd.DataFrame, to: Path) -> Path:
    """The path of the CSV file that now holds the table."""
    to.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(to, index=False)
    return to
