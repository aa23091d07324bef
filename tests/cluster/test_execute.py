from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from privimage import record as records
from privimage.cluster.cache import start_cache
from privimage.cluster.execute import Site, execute
from privimage.cluster.resources import Resources
from privimage.data.pair import DataConfig, load_data
from privimage.paths import Root
from privimage.privacy.budget import Budget
from privimage.privacy.ledger import Ledger
from privimage.schema import digest, parse
from privimage.stores.file import FileStore
from privimage.stores.store import Artefact
from privimage.trial import Trial

SEED = "0123456789abcdef" * 4
SEED = f"{SEED} {hashlib.sha256(SEED.encode()).hexdigest()[:16]}"  # as the store keeps it, with its check


@pytest.fixture
def actor(local_ray: None, tmp_path: Path) -> Iterator[Any]:
    """A cache of its own: a root never shares its actor with another."""
    handle = start_cache(f"test-execute-{digest(str(tmp_path))[:12]}")
    yield handle
    ray.kill(handle)


@pytest.fixture
def trial(tiny_values: Callable[[], dict[str, Any]]) -> Trial:
    return make_trial(tiny_values())


def make_trial(values: dict[str, Any]) -> Trial:
    return parse(
        Trial,
        {
            "data": values["data"],
            "budget": Budget(epsilon=10, delta=1e-5),
            "method": values["method"],
            "metrics": ("accuracy[lr]",),
        },
    )


def site_at(root: Path, config: DataConfig, actor: Any, **resources: Any) -> Site:
    public, sensitive = load_data(config, root=Root(path=root))
    folder = Root(path=root).run("run")
    folder.path.mkdir(parents=True)
    return Site(folder=folder, resources=Resources(**resources), actor=actor, data=ray.put((public, sensitive)))


def test_a_trial_that_has_a_record_is_not_run_again(tmp_path: Path, trial: Trial, actor: Any) -> None:
    site = site_at(tmp_path, trial.data, actor)
    first = execute(trial, site=site, role="search")
    assert first.id == trial.id and first.role == "search" and first.sweep == "run"
    assert {stage.origin for stage in first.stages} == {"built"}
    before = site.folder.records.read_bytes()
    assert execute(trial, site=site, role="compare") == first
    assert site.folder.records.read_bytes() == before
    assert len(Ledger(site.folder.root.ledger("tiny-v1")).charges()) == 2  # the query and DP-SGD
    end = time.monotonic() + 10
    while ray.get(actor.board.remote()) and time.monotonic() < end:  # the board is told without waiting for it
        time.sleep(0.1)
    assert ray.get(actor.board.remote()) == {}


@pytest.mark.thorough
def test_a_lost_record_is_made_again_from_the_store_at_no_price(tmp_path: Path, trial: Trial, actor: Any) -> None:
    site = site_at(tmp_path, trial.data, actor)
    first = execute(trial, site=site, role="search")
    charged = site.folder.root.ledger("tiny-v1").read_bytes()
    site.folder.records.unlink()
    again = execute(trial, site=site, role="search")
    assert {stage.origin for stage in again.stages} == {"hit"}
    assert (again.id, again.epsilon_alone, again.artefacts) == (first.id, first.epsilon_alone, first.artefacts)
    assert again.value("accuracy[lr]") == first.value("accuracy[lr]")
    assert site.folder.root.ledger("tiny-v1").read_bytes() == charged


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_make_the_same_weights_as_one(
    tmp_path: Path, tiny_values: Callable[[], dict[str, Any]], actor: Any
) -> None:
    """With the same entropy for the query and for DP-SGD, laid where a killed access would have left it."""
    values = tiny_values()
    values["data"]["sensitive"] = {"name": "digits", "id": "tiny-v1"}
    values["method"]["finetune"] = {"steps": 3, "q": 0.05, "physical_batch": 64}  # about three physical batches
    trial = make_trial(values)
    probe = execute(trial, site=site_at(tmp_path / "probe", trial.data, actor), role="search")
    stores = []
    for name, resources in (("one", {}), ("two", {"workers": 2, "cpu": 0.5})):
        root = Root(path=tmp_path / name)
        store = FileStore(root.store)
        (root.store / "internal").mkdir(parents=True)
        for kind in ("histogram", "generator"):
            (root.store / "internal" / f"{kind}-{probe.artefacts[kind]}.seed").write_text(SEED)
        # An actor of its own each: the key of an answer is the same in all three roots.
        own = start_cache(f"test-workers-{name}")
        record = execute(trial, site=site_at(tmp_path / name, trial.data, own, **resources), role="search")
        ray.kill(own)
        assert record.artefacts == probe.artefacts
        assert len(records.load(root.run("run").records)) == 1
        assert len(Ledger(root.ledger("tiny-v1")).charges()) == 2
        assert not list((root.store / "internal").iterdir())  # used, then forgotten
        stores.append(store)
    one, two = stores
    for kind in ("histogram", "pretrained", "generator"):
        key = probe.artefacts[kind]
        assert difference(one.get(kind, key), two.get(kind, key)) < 1e-5, kind
    secret = FileStore(Root(path=tmp_path / "probe").store)
    assert (
        difference(
            secret.get("generator", probe.artefacts["generator"]), one.get("generator", probe.artefacts["generator"])
        )
        > 1e-5
    )


def difference(a: Artefact | None, b: Artefact | None) -> float:
    """The largest relative difference of the arrays, each measured by its norm."""
    assert a is not None and b is not None and set(a.arrays) == set(b.arrays)
    parts = [
        np.linalg.norm(a.arrays[k].astype(float) - b.arrays[k]) / max(1e-12, np.linalg.norm(a.arrays[k].astype(float)))
        for k in a.arrays
    ]
    return float(max(parts))
