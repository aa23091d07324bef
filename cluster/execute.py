"""One trial on the cluster: found among the records, or run here, or run on a group of Ray Train workers."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from privimage import record as records
from privimage.cluster.cache import SharedCache, renewed
from privimage.cluster.resources import SHARES, Resources, Share
from privimage.cluster.train import run_alone, run_on_workers
from privimage.data.sets import PublicSet, SensitiveData
from privimage.disk import private_folder
from privimage.errors import TrialFailed
from privimage.methods.declared import Declaration, ShareName
from privimage.methods.method import MethodConfig
from privimage.paths import RunFolder
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.covered import CoveredLedger
from privimage.privacy.ledger import Ledger
from privimage.progress import Progress
from privimage.pull import made, pull
from privimage.record import Record, Role, untimed
from privimage.record_file import find
from privimage.run_trial import ask, run
from privimage.stages import Stages
from privimage.station import NOTHING, Behind, Elsewhere, Intention, Station
from privimage.stores.hidden import HiddenStore
from privimage.stores.open import open_store
from privimage.trial import Trial
from privimage.workers import Workers


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Where a trial stands: as which worker, in which station (None: all of it is computed here), what is behind it."""

    workers: Workers
    station: Station | None = None
    behind: Behind = NOTHING


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Where a trial goes on: with which share (None: with nothing, to wait), and what it claimed to compute there."""

    share: ShareName | None = None
    claim: Intention | None = None
    behind: Behind = NOTHING


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a sweep runs: its folder, its resources, its cache actor, and where its data are.

    `data` refers to the pair (PublicSet, SensitiveData) in Ray's object store, put there once: every process of a node
    reads the same memory.
    `selections` are the private selections that trials may belong to, by the id of their charge, and `queries` what
    their configurations may ask; `reservation` is what the sweep reserved in the ledger. `weights` is the file of
    Inception's weights, absolute: the same on every node. `bucket` is the URL of a root that is one: a node that has no
    working folder of it makes one.
    """

    folder: RunFolder
    resources: Resources
    actor: Any
    data: Any = None
    selections: Mapping[str, BestOf] = field(default_factory=dict)
    queries: tuple[MethodConfig, ...] = ()
    reservation: str | None = None
    weights: Path | None = None
    bucket: str | None = None

    def arrive(self) -> None:
        """Have this node know the root, before anything is charged: it may have joined after all others were asked.

        Raises TrialFailed where another disk is in its place: what is charged there would be lost.
        """
        if self.bucket is not None:
            made(self.bucket, at=self.folder.root.path)
        elif self.reservation is not None and not self.folder.outer.sweep.exists():
            raise TrialFailed(
                f"{self.folder.root.path}: {socket.gethostname()} does not see it; every node has to see the root at "
                "one path, or give a --root in a bucket"
            )

    def sets(self) -> tuple[PublicSet, SensitiveData]:
        """The public and the sensitive set."""
        public, sensitive = ray.get(self.data)
        return public, sensitive

    @property
    def hides(self) -> bool:
        """Whether the number of trials is a secret: then nothing outside internal folders may follow from it."""
        return bool(self.selections)

    def stages(self, at: Stand, trial: Trial, *, shown: str, hidden: bool) -> Stages:
        """Where the trial runs its stages: over the shared store or hidden inside it; `shown` names it on the board."""
        store = open_store(self.folder.root.store)
        if hidden:
            store = HiddenStore(store)

        def progress(now: Progress) -> None:
            try:
                self.actor.show.remote(shown, now)
            except RayError:
                return  # the board is a courtesy

        cache = SharedCache(store=store, actor=self.actor, station=at.station)
        return Stages(
            workers=at.workers,
            store=store,
            cache=cache,
            ledger=self.ledger_of(trial),
            progress=progress,
            behind=at.behind,
        )

    def records_of(self, trial: Trial) -> Path:
        """Where the record of a trial belongs: those of a private selection are internal."""
        return self.folder.records if trial.draw is None else self.folder.internal_records

    @property
    def ray(self) -> Path:
        """Where Ray keeps its own files: they have an entry a trial."""
        return self.folder.internal_ray if self.hides else self.folder.ray

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
    site.arrive()
    done = find(site.records_of(trial), trial.id)
    if done is not None:
        return done
    if site.resources.in_driver:
        _work(trial, site, role, _alone(site.resources.share("default")))
    else:
        walk(trial, site=site, role=role)
    pull(site.folder.path, lines_only=True)  # its first worker may have been on another node
    found = find(site.records_of(trial), trial.id)
    if found is None:
        raise TrialFailed(f"trial {trial.id}: its workers ended without a record")
    return found


def _alone(share: Share, **at: Any) -> Stand:
    """Of the only worker of a trial, which is this process."""
    torch.set_num_threads(max(1, int(share.cpu)))
    return Stand(workers=Workers.alone(share.device, graphs=share.cuda_graphs), **at)


def walk(trial: Trial, *, site: Site, role: Role) -> None:
    """Run a trial whose stages are computed elsewhere; this process finds what there is, and waits for the rest."""
    declaration, moved = trial.method.member.declaration, Moved()
    while True:
        if moved.share is None:
            station = Station(declaration, shares=(), driver=True)
            at = Stand(workers=Workers.alone(), station=station, behind=moved.behind)
            on = _work(trial, site, role, at)
        else:
            with nullcontext() if moved.claim is None else renewed(moved.claim, site.actor):
                on = _compute(trial, site, role, moved, declaration)
        if on is None:
            return
        moved = on


def _compute(trial: Trial, site: Site, role: Role, moved: Moved, declaration: Declaration) -> Moved | None:
    """The next stages of a trial, by processes that hold what these take, until others take something else."""
    share = site.resources.share(moved.share or "default")
    shares = [name for name in SHARES if site.resources.share(name) == share]

    def at(workers: Workers) -> Stand:
        return Stand(
            workers=workers, station=Station(declaration, shares=shares, gpu=share.gpu > 0), behind=moved.behind
        )

    def work(workers: Workers) -> Moved | None:
        return _work(trial, site, role, at(workers))

    if share.workers > 1:
        name = f"{trial.id}-{int(time.time())}"
        return run_on_workers(work, share=share, name=name, storage=site.ray / "train")
    return run_alone(work, share=share)


def _work(trial: Trial, site: Site, role: Role, at: Stand) -> Moved | None:
    """Run the trial as one of its workers; the first one writes the record. Or where it goes on."""
    site.arrive()
    drawn, begun, clock = trial.draw is not None, datetime.now(UTC), time.perf_counter()
    public, sensitive = site.sets()
    shown = trial.id if role == "compare" else f"{trial.id} search at epsilon {trial.budget.epsilon:g}"
    stages = site.stages(at, trial, shown=shown, hidden=drawn)
    try:
        for config in site.queries if drawn else ():  # all of them, whichever the trials that were drawn need
            asking = site.stages(at, trial, shown=shown, hidden=False)
            ask(trial, config, public=public, sensitive=sensitive, stages=asking)
        record = run(
            trial,
            public=public,
            sensitive=sensitive,
            stages=stages,
            sweep=site.folder.path.name,
            role=role,
            weights=site.weights,
            station=at.station,
        )
    except Elsewhere as to:
        seconds = at.behind.seconds + time.perf_counter() - clock
        behind = Behind(started=at.behind.started or begun, seconds=seconds, stages=tuple(stages.records))
        return Moved(share=to.share, claim=to.claim, behind=behind)
    if at.workers.first:
        _keep(record, site, trial)
        with suppress(RayError):
            site.actor.show.remote(shown, None)
    return None


def _keep(record: Record, site: Site, trial: Trial) -> None:
    """Write the record where it belongs."""
    path = site.records_of(trial)
    if trial.draw is not None:
        private_folder(path.parent)
    records.append(path, untimed(record) if site.hides else record)
