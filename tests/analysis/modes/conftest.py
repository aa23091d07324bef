"""Runs of the three tuning modes without the work: real sweeps, bills, trials and selections, made-up scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from asking import every

from privimage import metrics
from privimage import record as records_file
from privimage.analysis import facts
from privimage.analysis.report import html
from privimage.generators import sizes
from privimage.metrics import Metric
from privimage.paths import Root, RunFolder
from privimage.privacy import accounting
from privimage.privacy.bill import Bill
from privimage.privacy.budget import Event
from privimage.privacy.ledger import Ledger
from privimage.record import Paid, Record, StageRecord, finite
from privimage.schema import digest, parse
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state
from privimage.sweeps.modes.selection import PrivateSelection
from privimage.sweeps.modes.stand_in import final_trials, stand_in_sweep
from privimage.sweeps.price import bill_of, row_noise
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.work import Terms
from privimage.trial import Trial

FID, LR, SCORE = "fid[efficientnet-lite0]", "accuracy[lr]", "dp-accuracy[lr]"
ASKED = 6.0  # below what trials use: they see a noisier copy


def new_sweep(tuning: dict[str, Any], **changed: Any) -> Sweep:
    values = {
        "name": "demo",
        "data": {"sensitive": {"name": "digits", "id": "digits-v1"}, "public": {"name": "glyphs"}},
        "budgets": [{"epsilon": e, "delta": 1e-5} for e in (1, 10)],
        "tuning": tuning,
        "method": {"query": {"sigma": 8}, "finetune": {"q": 0.2, "steps": 10}, "model": {"size": "dct-mlp-192"}},
        "search": {"method.query.sigma": {"choice": [7, 9, 12]}},
        "compare": ["dpdm", "real"],
        "objectives": {FID: "min", LR: "max"},
        "trials": 3,
    }
    return parse(Sweep, values | changed)


class Maker:
    """Writes what a sweep leaves behind, at made-up scores from a seeded generator."""

    def __init__(self, sweep: Sweep, folder: RunFolder) -> None:
        self.sweep, self.folder, self.store = sweep, folder, FileStore(folder.root.store)
        self.asked = every(sweep, ASKED)
        self.bill: Bill = bill_of(sweep, asked_sigma=self.asked)
        self.ledger = Ledger(folder.root.ledger(sweep.data.sensitive.id))
        self._rng = np.random.default_rng(len(str(folder.path)) + 7)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.bill.write_text(self.bill.model_dump_json())
        folder.sweep.write_text(yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False))

    @property
    def terms(self) -> Terms:
        return Terms(sweep=self.sweep, asked=self.asked, bill=self.bill)

    def rows(self) -> None:
        for row, seed, budget in self.sweep.rows():
            noise = row_noise(self.bill, budget)
            self.add(self.sweep.row_trial(row, seed, budget, asked_sigma=self.asked, noise=noise), role="compare")

    def search(self) -> None:
        for budget in self.sweep.budgets:
            for sigma_s in (7.0, 9.0, 12.0)[: self.sweep.trials]:
                sigma = {"method.query.sigma": sigma_s}
                noise = self.bill.study(budget).noise
                seed = self.sweep.seeds[0]
                self.add(
                    self.sweep.trial(budget=budget, seed=seed, asked_sigma=self.asked, noise=noise, overrides=sigma)
                )

    def selections(self) -> None:
        for study in self.bill.studies:
            selection = PrivateSelection(self.sweep, study, self.bill, asked_sigma=self.asked)
            trials = selection.begin(
                ledger=self.ledger, store=self.store, inner=self.folder.root.covered(self.ledger.path.stem)
            )
            for trial in trials:
                self.add(trial)
            selection.finish(trials, folder=self.folder)

    def add(self, trial: Trial, *, role: Any = "search") -> Record:
        """The record of a trial on disk, its artefacts in the store, and its charges in the ledger."""
        record = self._record(trial, role)
        privacy: Any = "internal" if trial.draw is not None or not record.private else "released"
        made = tuple(event for event in trial.events if event.split == "train")
        for kind, key in record.artefacts.items():
            arrays = weights() if kind == "model" else self._images()
            meta = {} if kind == "model" else {"classes": list("0123456789")}
            self.store.put(kind, key, Built(arrays=arrays, privacy=privacy, events=made, meta=meta))
        for access in record.paid:
            if trial.draw is None or any(event.shared for event in access.events):
                self.ledger.charge(id=access.id, what=access.what, events=access.events)
        path = self.folder.records if trial.draw is None else self.folder.internal_records
        path.parent.mkdir(parents=True, exist_ok=True)
        records_file.append(path, record)
        return record

    def _record(self, trial: Trial, role: Any) -> Record:
        kept = {} if trial.method.name == "real" else {"model": digest((trial.id, 0)), "samples": digest((trial.id, 1))}
        return Record(
            id=trial.id, sweep=self.sweep.name, role=role, method=trial.method.name,
            config=trial.model_dump(mode="json"), budget=trial.budget, seed=trial.seed, events=trial.events,
            paid=tuple(_paid(trial, event) for event in trial.events if event.private),
            epsilon_alone=finite(accounting.epsilon(trial.events, trial.budget.delta)),
            epsilon_rdp_alone=finite(accounting.epsilon_rdp(trial.events, trial.budget.delta)),
            metrics=tuple(self._metric(trial, name) for name in trial.metrics),
            stages=(StageRecord(name="generator", origin="built", seconds=4321.5, peak_mib=8765.4),),
            artefacts=kept, started="2026-01-02T03:04:05+00:00", seconds=4321.9, versions={"privimage": "0.1.0"},
        )  # fmt: skip

    def _metric(self, trial: Trial, name: str) -> Metric:
        public = self.sweep.data.sensitive.name == "held-out"
        value = float(self._rng.uniform(0.3, 0.9)) * (100 if name == FID else 1)
        noisy = metrics.is_private(name)
        touched: Any = "public" if public else "private-validation" if noisy else "private-test"
        return Metric(
            name=name, value=value, touches=("synthetic", touched), direction=metrics.direction_of(name), n=20,
            event=trial.events[-1] if noisy else None, share=name != FID,
        )  # fmt: skip

    def _images(self) -> dict[str, Any]:
        return {"x": self._rng.integers(0, 256, (20, 1, 28, 28), dtype=np.uint8), "y": np.arange(20) % 10}


def weights() -> dict[str, Any]:
    return numpy_state(sizes.build("dct-mlp-192", shape=(1, 28, 28), n_classes=10, seed=3).state_dict())


def _paid(trial: Trial, event: Event) -> Paid:
    if event.shared is not None:
        asked = event.model_copy(update={"sigma": trial.asked_sigma[event.shared]})
        return Paid(id="query", what="query", events=(asked,))
    return Paid(id=digest((trial.id, event.purpose)), what=event.purpose, events=(event,))


def explore_run(root: Path, *, covers: str = "trial", **changed: Any) -> RunFolder:
    one = {"budgets": [{"epsilon": 10, "delta": 1e-5}]} if covers == "sweep" else {}
    maker = Maker(new_sweep({"mode": "explore", "covers": covers}, **(one | changed)), Root(path=root).run("demo"))
    maker.rows()
    maker.search()
    return maker.folder


def select_run(root: Path, **changed: Any) -> RunFolder:
    options: dict[str, Any] = {"objectives": {SCORE: "max"}, "metrics": [FID, LR], "trials": 6}
    maker = Maker(new_sweep({"mode": "select"}, **(options | changed)), Root(path=root).run("demo"))
    maker.rows()
    maker.selections()
    return maker.folder


def public_run(root: Path) -> RunFolder:
    sweep, folder = new_sweep({"mode": "public"}), Root(path=root).run("demo")
    maker = Maker(sweep, folder)
    search = Maker(stand_in_sweep(sweep, labels=10), folder.stand_in)
    search.search()
    maker.rows()
    for trial in final_trials(maker.terms, search=search.terms, folder=folder.stand_in):
        maker.add(trial)
    return folder


@pytest.fixture(scope="session")
def explored(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Mode explore at two budgets, each trial meeting its own; tests only read these runs."""
    return explore_run(tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Mode explore, one budget for everything."""
    return explore_run(tmp_path_factory.mktemp("shared"), covers="sweep")


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Mode explore with noisy scores only: nothing in it is outside the account."""
    changed = {"objectives": {SCORE: "max"}, "compare": ["dpdm"], "budgets": [{"epsilon": 10, "delta": 1e-5}]}
    return explore_run(tmp_path_factory.mktemp("scored"), **changed)


@pytest.fixture(scope="session")
def selected(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Mode select at two budgets, with K of at least 2 in one of them."""
    while True:
        folder = select_run(tmp_path_factory.mktemp("selected"))
        if len(records_file.load(folder.internal_records)) > len(folder_budgets(folder)):
            return folder


@pytest.fixture(scope="session")
def selected_without_query(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Mode select at one budget, with nothing beside the selection."""
    method = {"name": "pdp-diffusion", "finetune": {"q": 0.2, "steps": 10}, "model": {"size": "dct-mlp-192"}}
    search = {"method.pretrain.images": {"choice": [512, 1024]}}
    changed = {"method": method, "search": search, "compare": [], "budgets": [{"epsilon": 10, "delta": 1e-5}]}
    return select_run(tmp_path_factory.mktemp("bare"), **changed)


@pytest.fixture(scope="session")
def searched_in_public(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Mode public at two budgets."""
    return public_run(tmp_path_factory.mktemp("public"))


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[RunFolder], RunFolder]:
    """A copy of a whole root, for tests that change it."""

    def copy(folder: RunFolder) -> RunFolder:
        shutil.copytree(folder.root.path, tmp_path / "runs")
        return Root(path=tmp_path / "runs").run(folder.path.name)

    return copy


@pytest.fixture(scope="session")
def page_of() -> Callable[[RunFolder], str]:
    """The report of a run that tests only read, made once."""
    return lru_cache(lambda folder: html(facts.read(folder)))


def folder_budgets(folder: RunFolder) -> list[Any]:
    return list(yaml.safe_load(folder.sweep.read_text())["budgets"])
