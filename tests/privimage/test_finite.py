"""Training that blows up fails the trial; nothing that is not finite is stored; what was paid is never asked again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_stages import EVENT, Progress, stages_at
from toys import trial

from privimage.data.sets import PublicSet, SensitiveData
from privimage.finite import Diverged, check_images
from privimage.privacy.entropy import Entropy
from privimage.privacy.ledger import Ledger
from privimage.run_trial import run
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.trial import Trial
from privimage.workers import Workers

BAD = {"a": np.array([0.0, np.nan])}


def attempt(root: Path, what: Trial, public: PublicSet, sensitive: SensitiveData) -> tuple[str, Stages]:
    store = FileStore(root / "store")
    stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(root / "ledger.jsonl"))
    with pytest.raises(Diverged) as failed:
        run(what, public=public, sensitive=sensitive, stages=stages, sweep="toy", role="search")
    return str(failed.value), stages


def all_finite(store: FileStore) -> bool:
    found = [store.get(manifest.kind, manifest.key) for manifest in store.find()]
    return all(np.isfinite(array).all() for one in found if one is not None for array in one.arrays.values())


def test_pretraining_that_blows_up_charges_no_training(
    tmp_path: Path, public: PublicSet, sensitive_data: SensitiveData
) -> None:
    line, stages = attempt(tmp_path, trial(method__pretrain__lr=1e30), public, sensitive_data)
    assert "lower method.pretrain.lr" in line and "\n" not in line
    asked = [event.purpose for charge in stages.ledger.charges() for event in charge.events]
    assert "dp-sgd" not in asked and all_finite(stages.store)


def test_fine_tuning_that_blows_up_is_paid_once_and_never_asked_again(
    tmp_path: Path, public: PublicSet, sensitive_data: SensitiveData
) -> None:
    lost = trial(method__finetune__lr=1e30)
    line, stages = attempt(tmp_path, lost, public, sensitive_data)
    before = stages.ledger.path.read_bytes()
    again, later = attempt(tmp_path, lost, public, sensitive_data)
    assert line == again and "method.finetune.lr" in line and "\n" not in line
    assert later.ledger.path.read_bytes() == before
    assert not any(record.origin == "built" for record in later.records if record.name == "generator")
    assert all_finite(stages.store) and not list((stages.store.root / "internal").glob("generator-*.seed"))


def test_an_answer_that_is_not_finite_is_remembered_as_failed(tmp_path: Path) -> None:
    calls = []

    def build(entropy: Entropy, progress: Progress) -> Built:
        calls.append(entropy)
        return Built(arrays=BAD, privacy="released", events=(EVENT,))

    for _ in range(2):
        stages = stages_at(tmp_path)
        with pytest.raises(Diverged, match="generator: training blew up"):
            stages.private("generator", {}, what="x", events=(EVENT,), build=build)
    assert len(calls) == 1 == len(stages.ledger.charges())
    assert not list((stages.store.root / "internal").glob("*.seed"))


@pytest.mark.parametrize("kind", ["pretrained", "model", "samples", "query-function", "anything"])
def test_no_stage_stores_what_is_not_finite(kind: str, tmp_path: Path) -> None:
    stages = stages_at(tmp_path)
    for way in (stages.public, stages.alone):
        with pytest.raises(Diverged, match=f"{kind}: training blew up"):
            way(kind, {}, lambda progress: Built(arrays=BAD, privacy="public"))
    with pytest.raises(Diverged):
        stages.store.put(kind, "0" * 64, Built(arrays=BAD, privacy="public"))
    assert not list(stages.store.find())


@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_that_are_all_the_same_are_a_failure(value: int) -> None:
    x = np.full((30, 1, 8, 8), value, np.uint8)
    with pytest.raises(Diverged, match="all 30 images are the same"):
        check_images(x)
    x[7, 0, 3, 3] ^= 1
    check_images(x)
