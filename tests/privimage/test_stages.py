"""Stages: charged before the data is touched, finished with the same noise, never asked again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from privimage import checkpoint
from privimage.data.mapped import mapped
from privimage.errors import InputError, LostAnswer
from privimage.paths import CopyFolder
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look, Seen
from privimage.stages import Stages, _mapped_kib, peak_resident_mib
from privimage.stores.file import FileStore
from privimage.stores.store import Artefact, Built
from privimage.workers import Workers

EVENT = Event(purpose="query", split="train", sigma=5)
Progress = Callable[[int, int], None]


def stages_at(root: Path, **changed: object) -> Stages:
    store = FileStore(root / "store")
    ledger = Ledger(root / "ledger.jsonl")
    return Stages(workers=Workers.alone(), store=store, cache=store, ledger=ledger, **changed)  # type: ignore[arg-type]


class Ask:
    """A private access that remembers the entropies it was called with, and what the ledger said at that time."""

    def __init__(self, ledger: Ledger, *, fail: bool = False) -> None:
        self.ledger, self.fail = ledger, fail
        self.entropies: list[int] = []

    def __call__(self, entropy: Entropy, progress: Progress) -> Built:
        assert len(self.ledger.charges()) >= 1, "the data was touched before it was paid for"
        self.entropies.append(entropy)
        if self.fail:
            raise RuntimeError("killed")
        return Built(
            arrays={"a": np.frombuffer(entropy.raw, np.uint8).astype(float)}, privacy="released", events=(EVENT,)
        )


def ask(stages: Stages, build: Ask, x: int = 1) -> Artefact:
    return stages.private("histogram", {"x": x}, what="test", events=(EVENT,), build=build)


def test_a_killed_access_is_charged_once_and_finished_with_the_same_noise(tmp_path: Path) -> None:
    stages = stages_at(tmp_path)
    killed = Ask(stages.ledger, fail=True)
    with pytest.raises(RuntimeError, match="killed"):
        ask(stages, killed)
    assert len(stages.ledger.charges()) == 1 and len(list((stages.store.root / "internal").iterdir())) == 1
    again = stages_at(tmp_path)  # the same command after the crash
    finished = Ask(again.ledger)
    artefact = ask(again, finished)
    assert finished.entropies == killed.entropies
    assert len(again.ledger.charges()) == 1
    assert not list((again.store.root / "internal").iterdir())  # forgotten: nobody can subtract the noise
    assert artefact.manifest.privacy == "released" and artefact.manifest.events == (EVENT,)


def test_a_hit_is_free_and_still_says_what_was_paid(tmp_path: Path) -> None:
    first = stages_at(tmp_path)
    ask(first, Ask(first.ledger))
    before = first.ledger.path.read_bytes()
    second = stages_at(tmp_path)
    build = Ask(second.ledger)
    ask(second, build)
    assert not build.entropies and second.ledger.path.read_bytes() == before
    assert first.paid == second.paid and len(second.paid) == 1
    assert [record.origin for record in (*first.records, *second.records)] == ["built", "hit"]
    assert second.artefacts == first.artefacts


@pytest.mark.parametrize("damage", ["folder", "arrays", "byte"])
def test_an_answer_that_is_gone_is_lost_never_asked_again(tmp_path: Path, damage: str) -> None:
    stages = stages_at(tmp_path)
    folder = stages.store.folder("histogram", ask(stages, Ask(stages.ledger)).manifest.key)
    if damage == "folder":
        shutil.rmtree(folder)
    elif damage == "arrays":
        (folder / "arrays.safetensors").unlink()
    else:
        (folder / "arrays.safetensors").write_bytes(b"x" + (folder / "arrays.safetensors").read_bytes()[1:])
    again = stages_at(tmp_path)
    build = Ask(again.ledger)
    with pytest.raises(LostAnswer, match="restore it"):
        ask(again, build)
    assert not build.entropies and len(again.ledger.charges()) == 1


def test_a_crash_between_storing_and_forgetting_is_a_hit_that_forgets(tmp_path: Path) -> None:
    stages = stages_at(tmp_path)
    key = ask(stages, Ask(stages.ledger)).manifest.key
    stages.store.entropy(f"histogram-{key}")  # as if it had not been removed
    ask(stages_at(tmp_path), Ask(stages.ledger))
    assert not stages.store.has_entropy(f"histogram-{key}")


def test_other_accesses_have_other_charges_and_other_noise(tmp_path: Path) -> None:
    stages = stages_at(tmp_path)
    build = Ask(stages.ledger)
    for x in range(3):
        ask(stages, build, x)
    assert len(set(build.entropies)) == 3 and len(stages.ledger.charges()) == 3 and len(stages.paid) == 3


def test_the_same_access_in_two_roots_has_other_noise(tmp_path: Path) -> None:
    builds = []
    for root in ("a", "b"):
        stages = stages_at(tmp_path / root)
        builds.append(Ask(stages.ledger))
        ask(stages, builds[-1])
    assert builds[0].entropies != builds[1].entropies


def test_a_damaged_ledger_stops_before_the_data_is_touched(tmp_path: Path) -> None:
    stages = stages_at(tmp_path)
    ask(stages, Ask(stages.ledger))
    stages.ledger.path.write_bytes(stages.ledger.path.read_bytes().replace(b"5.0", b"6.0"))
    build = Ask(stages.ledger)
    with pytest.raises(InputError, match="hash chain"):
        ask(stages, build, 2)
    assert not build.entropies


def test_a_public_stage_charges_nothing_and_is_computed_once(tmp_path: Path) -> None:
    stages, calls = stages_at(tmp_path), []

    def build(progress: Progress) -> Built:
        calls.append(1)
        return Built(arrays={"a": np.ones(2)}, privacy="public")

    for _ in range(2):
        stages.public("kind", {"x": 1}, build)
    stages.public("kind", {"x": 2}, build)
    stages.public("other", {"x": 1}, build)
    stages.alone("alone", {"x": 1}, build)
    assert len(calls) == 4 and not stages.ledger.path.exists() and not stages.paid
    assert [record.origin for record in stages.records] == ["built", "hit", "built", "built", "built"]
    assert all(record.seconds >= 0 and record.peak_mib > 10 for record in stages.records)


@pytest.mark.parametrize("kind", ["public", "private"])
def test_a_checkpoint_lives_until_its_answer_is_stored(tmp_path: Path, kind: str) -> None:
    done: list[int] = []

    def run(stages: Stages, *, fail: bool) -> None:
        def build(entropy: Entropy | None, progress: Progress) -> Built:
            place, F = stages.checkpoint(kind, {"x": 1}, entropy=entropy), torch.nn.Linear(2, 1)
            done.append(place.restore({"F": F}))
            place.save(done[-1] + 3, {"F": F})
            if fail:
                raise RuntimeError("killed")
            return Built(arrays={"a": np.ones(1)}, privacy="released")

        if kind == "public":
            stages.public(kind, {"x": 1}, lambda progress: build(None, progress))
        else:
            stages.private(kind, {"x": 1}, what="test", events=(EVENT,), build=build)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SECONDS", 0.0)
        for fail in (True, True, False):
            try:
                run(stages_at(tmp_path), fail=fail)
            except RuntimeError:
                assert [path.suffix for path in (tmp_path / "store" / "internal").glob("*.checkpoint")]
    assert done == [0, 3, 6] and not list((tmp_path / "store" / "internal").iterdir())


def test_a_look_is_written_once_and_has_no_price(tmp_path: Path) -> None:
    look = Look(split="train", what="row real")
    for _ in range(2):
        stages = stages_at(tmp_path)
        assert stages.look(look) == stages.look(look, alone=True) == Seen(split="train")
    assert isinstance(stages.ledger, Ledger)
    assert [line.what for line in stages.ledger.looks()] == ["row real"] and stages.ledger.charges() == []
    assert stages.paid == {}


def test_the_artefact_of_a_look_is_made_again_if_it_is_gone(tmp_path: Path) -> None:
    stages, look = stages_at(tmp_path), Look(split="train", what="row real")
    built: list[int] = []

    def build(entropy: Entropy, progress: Progress, seen: Seen) -> Built:
        assert isinstance(stages.ledger, Ledger) and len(stages.ledger.looks()) == 1, "written first"
        built.append(1)
        return Built(arrays={"a": np.ones(1)}, privacy="internal")

    for _ in range(2):
        key = stages.unnoised("kind", {}, look=look, build=build).manifest.key
    shutil.rmtree(stages.store.folder("kind", key))
    stages.unnoised("kind", {}, look=look, build=build)
    assert len(built) == 2 and not list((stages.store.root / "internal").iterdir())


def test_progress_names_the_stage_and_ends_with_the_last_step(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    stages = stages_at(tmp_path, progress=lambda now: seen.append((now.stage, now.done, now.total)))

    def build(progress: Progress) -> Built:
        for step in range(1, 501):
            progress(step, 500)
        return Built(arrays={"a": np.ones(1)}, privacy="public")

    stages.public("kind", {}, build)
    assert seen[0] == ("kind", 0, 0) and seen[-1] == ("kind", 500, 500) and len(seen) < 20


def test_pages_of_decoded_images_are_no_memory_of_a_process(tmp_path: Path) -> None:
    path = CopyFolder(path=tmp_path).images
    path.write_bytes(bytes(1 << 26))
    before, found = peak_resident_mib(), mapped(path, (1 << 14, 1 << 12))
    assert found.max() == 0 and _mapped_kib() >= 1 << 16
    assert peak_resident_mib() < before + 32
