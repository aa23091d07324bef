"""One trial on the cluster: found among the records, or run here, or run on a group of Ray Train workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from privimage import record as records
from privimage.cluster.cache import SharedCache
from privimage.cluster.resources import Resources
from privimage.cluster.train import run_on_workers
from privimage.data.sets import PublicSet, SensitiveData
from privimage.disk import private_folder
from privimage.errors import TrialFailed
from privimage.methods.method import MethodConfig
from privimage.paths import RunFolder
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.covered import CoveredLedger
from privimage.privacy.ledger import Ledger
from privimage.progress import Progress
from privimage.record import Record, Role, untimed
from privimage.run_trial import ask, run
from privimage.stages import Stages
from privimage.stores.hidden import HiddenStore
from privimage.stores.open import open_store
from privimage.trial import Trial
from privimage.workers import Workers


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a sweep runs: its folder, its resources, its cache actor, and where its data are.

    `data` refers to the pair (PublicSet, SensitiveData) in Ray's object store, put there once: every process of a node
    reads the same memory.
    `selections` are the private selections that trials may belong to, by the id of their charge, and `queries` what
    their configurations may ask; `reservation` is what the sweep reserved in the ledger. `weights` is the file of
    Inception's weights, absolute: the same on every node.
    """

    folder: RunFolder
    resources: Resources
    actor: Any
    data: Any = None
    selections: Mapping[str, BestOf] = field(default_factory=dict)
    queries: tuple[MethodConfig, ...] = ()
    reservation: str | None = None
    weights: Path | None = None

    def sets(self) -> tuple[PublicSet, SensitiveData]:
        """The public and the sensitive set."""
        public, sensitive = ray.get(self.data)
        return public, sensitive

    @property
    def hides(self) -> bool:
        """Whether the number of trials is a secret: then nothing outside internal folders may follow from it."""
        return bool(self.selections)

    def stages(self, trial: Trial, workers: Workers, *, shown: str, hidden: bool) -> Stages:
        """Where the trial runs its stages: over the shared store or hidden inside it; `shown` names it on the board."""
        store = open_store(self.folder.root.store)
        if hidden:
            store = HiddenStore(store)

        def progress(now: Progress) -> None:
            try:
                self.actor.show.remote(shown, now)
            except RayError:
                return  # the board is a courtesy

        cache = SharedCache(store=store, actor=self.actor)
        return Stages(workers=workers, store=store, cache=cache, ledger=self.ledger_of(trial), progress=progress)

    def records_of(self, trial: Trial) -> Path:
        """Where the record of a trial belongs: those of a private selection are internal."""
        return self.folder.records if trial.draw is None else self.folder.internal_records

    @property
    def ray(self) -> Path:
        """Where Ray keeps its own files: they have an entry a trial."""
        return self.folder.internal_ray if self.hides else self.folder.ray

    def has(self, trial: Trial) -> bool:
        """Whether the trial has a record already."""
        return _find(self.records_of(trial), trial) is not None

    def ledger_of(self, trial: Trial) -> Ledger | CoveredLedger:
        """Where a trial is charged: the trials of a private selection are covered by its one charge."""
        id = trial.data.sensitive.id
        bill = None if trial.data.stand_in else self.reservation  # what is public has no bill
        path, data = self.folder.root.ledger(id), trial.data
        ledger = Ledger(path, under=bill, division=data.division, revision=data.revision, timeless=self.hides)
        if trial.draw is None:
            return ledger
        selection = trial.draw.selection
        return CoveredLedger(
            ledger, inner=self.folder.root.covered(id), selection=selection, cost=self.selections[selection]
        )


def execute(trial: Trial, *, site: Site, role: Role) -> Record:
    """The record of the trial, on disk. A trial that has a record is not run again."""
    done = _find(site.records_of(trial), trial)
    if done is not None:
        return done
    if site.resources.workers == 1:
        torch.set_num_threads(max(1, int(site.resources.cpu)))
        _work(trial, site, role, Workers.alone(site.resources.device, graphs=site.resources.cuda_graphs))
    else:

        def work(workers: Workers) -> None:
            _work(trial, site, role, workers)

        name = f"{trial.id}-{int(time.time())}"
        run_on_workers(work, resources=site.resources, name=name, storage=site.ray / "train")
    found = _find(site.records_of(trial), trial)
    if found is None:
        raise TrialFailed(f"trial {trial.id}: its workers ended without a record")
    return found


def _find(path: Path, trial: Trial) -> Record | None:
    if not path.exists():
        return None
    return next((record for record in records.load(path) if record.id == trial.id), None)


def _work(trial: Trial, site: Site, role: Role, workers: Workers) -> None:
    """Run the trial as one of its workers; the first one writes the record."""
    drawn = trial.draw is not None
    public, sensitive = site.sets()
    shown = trial.id if role == "compare" else f"{trial.id} search at epsilon {trial.budget.epsilon:g}"
    for config in site.queries if drawn else ():  # all of them, whichever the trials that were drawn need
        ask(
            trial,
            config,
            public=public,
            sensitive=sensitive,
            stages=site.stages(trial, workers, shown=shown, hidden=False),
        )
    record = run(
        trial,
        public=public,
        sensitive=sensitive,
        stages=site.stages(trial, workers, shown=shown, hidden=drawn),
        sweep=site.folder.path.name,
        role=role,
        weights=site.weights,
    )
    if workers.first:
        path = site.records_of(trial)
        if drawn:
            private_folder(path.parent)
        records.append(path, untimed(record) if site.hides else record)
        with suppress(RayError):
            site.actor.show.remote(shown, None)
