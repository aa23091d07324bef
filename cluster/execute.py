"""One trial on the cluster: found among the records, or run here, or run on a group of Ray Train workers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import ray
import torch
from ray.exceptions import RayError

from cluster.cache import SharedCache
from cluster.resources import Resources
from cluster.train import run_on_workers
from privimage import record as records
from privimage.data.sets import PublicSet, SensitiveData
from privimage.errors import TrialFailed
from privimage.ledger import Ledger
from privimage.paths import RunFolder
from privimage.record import Record
from privimage.stages import Stages
from privimage.store import Store
from privimage.trial import Trial, run
from privimage.workers import Workers


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a sweep runs: its folder, its resources, its cache actor, and the data (in Ray's object store)."""

    folder: RunFolder
    resources: Resources
    actor: Any
    public: PublicSet
    sensitive: SensitiveData


def execute(trial: Trial, *, site: Site, role: Literal["search", "compare"]) -> Record:
    """The record of the trial, on disk. A trial that has a record is not run again."""
    done = _find(site.folder, trial)
    if done is not None:
        return done
    if site.resources.workers == 1:
        torch.set_num_threads(max(1, int(site.resources.cpu)))
        _work(trial, site, role, Workers.alone(site.resources.device))
    else:
        # The data travels as one reference; the closure itself stays small.
        data = ray.put((site.public, site.sensitive))
        folder, resources, actor = site.folder, site.resources, site.actor

        def work(workers: Workers) -> None:
            public, sensitive = ray.get(data)
            here = Site(folder=folder, resources=resources, actor=actor, public=public, sensitive=sensitive)
            _work(trial, here, role, workers)

        name = f"{trial.id}-{int(time.time())}"
        run_on_workers(work, resources=resources, name=name, storage=folder.ray / "train")
    found = _find(site.folder, trial)
    if found is None:
        raise TrialFailed(f"trial {trial.id}: its workers ended without a record")
    return found


def _find(folder: RunFolder, trial: Trial) -> Record | None:
    if not folder.records.exists():
        return None
    return next((record for record in records.load(folder.records) if record.id == trial.id), None)


def _work(trial: Trial, site: Site, role: Literal["search", "compare"], workers: Workers) -> None:
    """Run the trial as one of its workers; the first one writes the record."""
    root = site.folder.root
    store = Store(root.store)

    def progress(stage: str, done: int, total: int) -> None:
        try:
            site.actor.show.remote(trial.id, stage, done, total)
        except RayError:
            return  # the board is a courtesy

    stages = Stages(
        workers=workers,
        store=store,
        cache=SharedCache(store=store, actor=site.actor),
        ledger=Ledger(root.ledger(trial.data.sensitive.id)),
        progress=progress,
    )
    record = run(
        trial,
        public=site.public,
        sensitive=site.sensitive,
        stages=stages,
        sweep=site.folder.path.name,
        role=role,
    )
    if workers.first:
        records.append(site.folder.records, record)
        progress("", 0, 0)
