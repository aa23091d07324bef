"""A phase of a tiny sweep, and records of its trials, without the work. Not a test module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asking import every

from privimage import record as records
from privimage.data.pair import load_data
from privimage.paths import Root
from privimage.record import Record, StageRecord
from privimage.schema import parse
from privimage.sweeps.phase import Phase
from privimage.sweeps.price import bill_of
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.work import Work
from privimage.trial import Trial

SIGMA = "method.query.sigma"


def new_phase(values: dict[str, Any], folder: Path) -> Phase:
    """A search with comparison rows, two seeds a configuration."""
    sweep = parse(Sweep, values | {"compare": ["selection-only", "dpdm"], "trials": 3, "seeds": [0, 1]})
    public, sensitive = load_data(sweep.data, root=Root(path=folder))
    run = Root(path=folder / "runs").run("tiny")
    run.path.mkdir(parents=True)
    asked = every(sweep, 6.0)
    bill = bill_of(sweep, asked_sigma=asked)
    work = Work(sweep=sweep, folder=run, asked=asked, bill=bill, public=public, sensitive=sensitive, quiet=True)
    return Phase(work=work, name="sweep", rows=work.rows, searching=True)


def searched(phase: Phase, sigma: float, seed: int = 0) -> Trial:
    return phase.work.searched({SIGMA: sigma}, budget=phase.work.sweep.budgets[0], seed=seed)


def ended(phase: Phase, trial: Trial, *, role: Any = "search", value: float = 0.5) -> Record:
    """The record of a trial, written."""
    touches = ["synthetic", "private-test"]
    metric = {"name": "accuracy[lr]", "value": value, "touches": touches, "direction": "max", "n": 9}
    record = Record.model_validate(
        {
            "id": trial.id, "sweep": "tiny", "role": role, "method": trial.method.name,
            "config": trial.model_dump(mode="json"), "budget": trial.budget, "seed": trial.seed, "events": (),
            "paid": (), "epsilon_alone": 0.9, "epsilon_rdp_alone": 1.0, "metrics": [metric], "artefacts": {},
            "stages": (StageRecord(name="generator", origin="built", seconds=1.0, peak_mib=1.0),),
            "started": "2026-01-02T03:04:05+00:00", "seconds": 10.0, "versions": {},
        }
    )  # fmt: skip
    records.append(phase.work.folder.records, record)
    return record
