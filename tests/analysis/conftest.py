"""Small synthetic runs: records with plausible prices, a real store with random images, a real ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from privimage import record as records_file
from privimage.analysis import front
from privimage.analysis.facts import Facts
from privimage.generators import sizes
from privimage.metrics import Metric
from privimage.paths import Root, RunFolder
from privimage.privacy.bill import Bill, Study
from privimage.privacy.budget import Budget, Event
from privimage.privacy.ledger import Ledger
from privimage.privacy.noise import Noise
from privimage.record import Paid, Record, StageRecord
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state

SPLIT = {"validation": 0.1, "test": 0.2, "split_seed": 0}
FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"
QUERY = Event(purpose="query", split="train", sigma=5.0, shared="00ff")
ROLES = ("search", "compare")
OPEN = Event(purpose="training", split="train", sigma=0.0, q=0.5, steps=50)


def dp_sgd(sigma: float) -> Event:
    return Event(purpose="dp-sgd", split="train", sigma=sigma, q=0.5, steps=50)


def metric(name: str, value: float, *touches: Any) -> Metric:
    direction = "min" if name.startswith("fid") else "max"
    rates: dict[str, Any] = {} if direction == "min" else {"largest": 0.11, "share": True}
    touched = touches or ("synthetic", "private-test")
    return Metric(name=name, value=value, touches=touched, direction=direction, n=20, of=1000, classes=10, **rates)


def new_record(
    id: str,
    *,
    method: str = "privimage+d",
    epsilon: float = 10,
    fid: float = 50,
    cnn: float | None = 0.8,
    role: Any = "search",
    ratio: float = 0.05,
    events: tuple[Event, ...] | None = None,
    spent: float | None = -1,
    seed: int = 0,
    **fields: Any,
) -> Record:
    """A record; `spent` is its epsilon, by default half a thousandth under its budget."""
    events = (QUERY, dp_sgd(20 / epsilon)) if events is None else events
    spent = epsilon - 0.0005 if spent == -1 else spent
    values = {
        "id": id,
        "sweep": "demo",
        "role": role,
        "method": method,
        "config": {
            "data": {"sensitive": {"name": "digits", "id": "digits-v1"} | SPLIT, "public": {"name": "glyphs"}},
            "budget": {"epsilon": epsilon, "delta": 1e-5},
            "method": {
                "name": method,
                "select": {"ratio": ratio},
                "model": {"size": "dct-mlp-192"},
                "sample": {"steps": 3},
            },
            "seed": seed,
        },
        "budget": Budget(epsilon=epsilon, delta=1e-5),
        "seed": seed,
        "events": events,
        "paid": tuple(
            Paid(id="query" if e == QUERY else f"{id}-{e.purpose}", what=e.purpose, events=(e,))
            for e in events
            if e.private
        ),
        "epsilon_alone": spent,
        "epsilon_rdp_alone": None if spent is None else spent * 1.1,
        "metrics": (metric(FID, fid), *(() if cnn is None else (metric(CNN, cnn),))),
        "stages": (
            StageRecord(name="histogram", origin="hit", seconds=0.1, peak_mib=200),
            StageRecord(name="generator", origin="built", seconds=60, peak_mib=812.5),
        ),
        "artefacts": {},
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 61.5,
        "versions": {"privimage": "0.1.0", "dp-accounting": "0.6.0"},
    }
    return Record(**(values | fields))


def demo_records() -> list[Record]:
    """A search at two budgets, and every comparison row of the paper's table."""
    rows = [
        new_record(f"search-{e:g}-{i}", epsilon=e, ratio=ratio, fid=fid - 15 * (e == 10), cnn=cnn + 0.3 * (e == 10))
        for e in (1.0, 10.0)
        for i, (ratio, fid, cnn) in enumerate([(0.03, 72, 0.52), (0.05, 55, 0.61), (0.1, 61, 0.58)])
    ]
    for e, pdp, dpdm, chance in ((1.0, 110, 190, 75), (10.0, 78, 120, 49)):
        for name, fid in (("pdp-diffusion", pdp), ("dpdm", dpdm), ("random-selection", chance)):
            events = (dp_sgd(20 / e + 0.5),)
            cnn = round(0.95 - fid / 200, 3)
            rows.append(
                new_record(f"{name}-{e:g}", method=name, epsilon=e, fid=fid, cnn=cnn, role="compare", events=events)
            )
    rows.append(
        new_record("sel", method="selection-only", fid=66, cnn=0.55, role="compare", events=(QUERY,), spent=0.73)
    )
    open_rows = [("nonprivate-tune", 31.0, 0.95, (QUERY, OPEN)), ("real", 1.5, 0.985, (OPEN,))]
    for name, fid, cnn, events in open_rows:
        rows.append(new_record(name, method=name, fid=fid, cnn=cnn, role="compare", events=events, spent=None))
    return rows


def bill_for(records: list[Record]) -> Bill:
    """The bill of an explore sweep whose trials ask what these records paid."""
    queries = tuple({e: None for r in records for e in r.events if e.shared is not None})[:1]
    studies = []
    for budget in sorted({r.budget for r in records}, key=lambda b: (b.epsilon, b.delta)):
        mine = [r for r in records if r.budget == budget]
        trained = {
            role: [e for r in mine if r.role == role for e in r.events if e.purpose == "dp-sgd"] for role in ROLES
        }
        studies.append(
            Study(
                budget=budget, noise=Noise(), trainings=tuple(dict.fromkeys(trained["search"])), score=None, scores=0,
                trials=len(trained["search"]), law=None, rows=tuple(trained["compare"]),
            )
        )  # fmt: skip
    return Bill(mode="explore", covers="trial", queries=queries, studies=tuple(studies))


def images(n: int = 40, shape: tuple[int, int, int] = (1, 28, 28), seed: int = 0) -> dict[str, Any]:
    x = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return {"x": x, "y": np.arange(n) % 10}


def write_run(root: Path, records: list[Record], *, objectives: dict[str, str] | None = None) -> RunFolder:
    """A run folder with these records, their samples and models in the store, and the ledger of what they paid."""
    folder = Root(path=root).run("demo")
    folder.path.mkdir(parents=True)
    state = numpy_state(sizes.build("dct-mlp-192", shape=(1, 28, 28), n_classes=10, seed=3).state_dict())
    ledger = Ledger(folder.root.ledger("digits-v1"))
    for number, record in enumerate(records):
        store_artefacts(FileStore(folder.root.store), record, state, images(seed=number))
        for access in record.paid:
            ledger.charge(id=access.id, what=access.what, events=access.events)
        kept = {} if record.method == "real" else {"model": record.id, "samples": record.id}
        records_file.append(folder.records, record.model_copy(update={"artefacts": kept}))
    folder.bill.write_text(bill_for(records).model_dump_json())
    sweep = {"objectives": objectives or {FID: "min", CNN: "max"}, "tuning": {"mode": "explore"}}
    folder.sweep.write_text(yaml.safe_dump(sweep, sort_keys=False))
    return folder


def store_artefacts(store: FileStore, record: Record, state: dict[str, Any], samples: dict[str, Any]) -> None:
    if record.method == "real":
        return
    privacy: Any = "released" if record.private else "internal"
    store.put("model", record.id, Built(arrays=state, privacy=privacy, events=record.events))
    meta = {"classes": list("0123456789")}
    store.put("samples", record.id, Built(arrays=samples, privacy=privacy, events=record.events, meta=meta))


def add_artefact(folder: RunFolder, kind: str, key: str, of: str) -> None:
    """Write in the record of that name that it has this artefact as well."""
    known = records_file.load(folder.records)
    folder.records.unlink()
    for record in known:
        more = {kind: key} if record.id == of else {}
        records_file.append(folder.records, record.model_copy(update={"artefacts": {**record.artefacts, **more}}))


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the pixels: drawing them takes longer than all that is looked at."""
    monkeypatch.setattr(front, "DPI", front.DPI // 2)


@pytest.fixture
def also() -> Callable[..., None]:
    return add_artefact


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The whole demo run; tests only read it."""
    return write_run(tmp_path_factory.mktemp("runs"), demo_records())


@pytest.fixture
def make_record() -> Callable[..., Record]:
    return new_record


@pytest.fixture
def make_facts() -> Callable[..., Facts]:
    def make(
        records: list[Record],
        *,
        objectives: tuple[str, ...] = (FID, CNN),
        path: str = "/nowhere/demo",
        bill: Bill | None = None,
    ) -> Facts:
        return Facts(
            folder=RunFolder(path=Path(path)),
            records=tuple(records),
            bill=bill or bill_for(records),
            objectives=objectives,
        )

    return make


@pytest.fixture
def roots(make_facts: Callable[..., Facts]) -> Callable[..., list[Facts]]:
    """One run in each of three roots, which differ in what was reached; `more` are further records of all of them."""

    def make(more: tuple[Record, ...] = (), **fields: Any) -> list[Facts]:
        return [
            make_facts([new_record("a", cnn=value, seconds=at, **fields), *more], path=f"/{at}/demo")
            for at, value in enumerate((0.71, 0.74, 0.79))
        ]

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    def make(records: list[Record], **options: Any) -> RunFolder:
        return write_run(tmp_path / "runs", records, **options)

    return make


@pytest.fixture
def make_metric() -> Callable[..., Metric]:
    return metric


@pytest.fixture
def make_images() -> Callable[..., dict[str, Any]]:
    return images


@pytest.fixture
def demo_rows() -> list[Record]:
    return demo_records()
