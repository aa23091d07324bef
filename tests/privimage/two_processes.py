"""Run as a script by the fixture `pair`: FOLDER. Imports once, then forks the two processes. Not a test module."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from forks import ended, forked

from privimage.data.sets import PrivateSet
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.errors import BudgetExceeded
from privimage.generators import sizes
from privimage.generators.config import PretrainConfig
from privimage.generators.pretrain import pretrain
from privimage.privacy.budget import Budget, Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.ledger import Ledger
from privimage.schema import parse
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.trial import Trial
from privimage.workers import Workers

CHARGES = 15  # of every process; as many again are asked by both
EVENT = Event(purpose="dp-sgd", split="train", sigma=1.5, q=0.6, steps=3)
ENTROPY = Entropy(bytes(31) + b"7")
TRIAL = {
    "data": {"sensitive": {"name": "digits", "id": "toy-v1"}, "public": {"name": "glyphs"}},
    "budget": {"epsilon": 4, "delta": 1e-5},
    "method": {"name": "privimage+d", "query": {"sigma": 10, "k1": 2}, "finetune": {"lr": 0.1, "P_mean": None}},
    "metrics": ["accuracy[lr]", "fid[inception]"],
}


def quiet(done: int, total: int) -> None:
    """No progress."""


def fine_tuned(workers: Workers, sensitive: PrivateSet) -> dict[str, np.ndarray]:
    """Three private steps in physical batches of 8."""
    generator = sizes.build("dct-mlp-192", shape=sensitive.shape, n_classes=3, seed=0)
    config = FinetuneConfig(C=0.5, K=2, physical_batch=8, optimizer="adam", lr=1e-3)
    release = fine_tune(
        generator, sensitive, config=config, event=EVENT, entropy=ENTROPY, workers=workers, progress=quiet
    )
    return {name: tensor.numpy() for name, tensor in release.value.state.items()}


def pretrained(workers: Workers, sensitive: PrivateSet) -> dict[str, np.ndarray]:
    """Eight steps of an odd batch, so that the shares of two workers differ."""
    generator = sizes.build("dct-mlp-192", shape=sensitive.shape, n_classes=3, seed=0)
    config = PretrainConfig(images=8 * 15, batch=15)
    state = pretrain(
        generator, sensitive.rows, sensitive.y, weights=None, config=config, seed=3, workers=workers, progress=quiet
    )
    return {name: tensor.numpy() for name, tensor in state.items()}


def race_for_the_ledger(folder: Path, rank: int) -> int:
    ledger, written = Ledger(folder / "ledger.jsonl"), 0
    for i in range(CHARGES):
        written += ledger.charge(
            id=f"own-{rank}-{i}", what="own", events=(Event(purpose="query", split="train", sigma=5 + i),)
        )
        written += ledger.charge(id=f"both-{i}", what="both", events=(Event(purpose="query", split="train", sigma=5),))
    return written


def race_for_the_cap(folder: Path, rank: int) -> tuple[bool, bool]:
    """Whether this process set the cap, and whether its reservation of most of it was admitted."""
    ledger = Ledger(folder / "capped.jsonl")
    new = ledger.set_cap(Budget(epsilon=3, delta=1e-5))
    try:
        return new, ledger.reserve(id=str(rank), what="sweep", events=(Event(purpose="query", split="train", sigma=2),))
    except BudgetExceeded:
        return new, False


def race_for_the_store(folder: Path) -> tuple[str, float]:
    def slow() -> Built:
        time.sleep(0.4)
        return Built(arrays={"a": np.random.default_rng().random(4)}, privacy="public")

    artefact, origin = FileStore(folder / "store").fetch("slow", "k" * 40, slow)
    return origin, float(artefact.arrays["a"][0])


def staged(folder: Path, workers: Workers) -> dict[str, Any]:
    """A public and a private stage on both workers."""
    store = FileStore(folder / "staged")
    stages = Stages(workers=workers, store=store, cache=store, ledger=Ledger(folder / "staged.jsonl"))
    built: list[str] = []

    def together(progress: Callable[[int, int], None]) -> Built:
        built.append("public")
        total = [torch.ones(3)]
        workers.all_reduce(total)
        return Built(arrays={"a": total[0].numpy()}, privacy="public")

    def noisy(entropy: Entropy, progress: Callable[[int, int], None]) -> Built:
        built.append("private")
        return Built(arrays={"entropy": np.frombuffer(entropy.raw, np.uint8)}, privacy="released")

    seen = []
    for _ in range(2):  # the second time both are hits
        first = stages.public("together", {"x": 1}, together)
        second = stages.private("noisy", {"x": 1}, what="test", events=(EVENT,), build=noisy)
        seen.append([first.arrays["a"].tolist(), second.arrays["entropy"].tolist()])
    return {"built": built, "seen": seen, "origins": [record.origin for record in stages.records]}


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    workers = Workers.of_process_group()
    report: dict[str, Any] = {"written": race_for_the_ledger(folder, rank)}
    dist.barrier()
    report["capped"] = race_for_the_cap(folder, rank)
    dist.barrier()
    report["origin"], report["value"] = race_for_the_store(folder)
    report["staged"] = staged(folder, workers)
    data = np.load(folder / "sensitive.npz")
    sensitive = PrivateSet(x=data["x"], y=data["y"], name="toy", id="toy-v1", split="train", classes=("a", "b", "c"))
    tuned, trained = fine_tuned(workers, sensitive), pretrained(workers, sensitive)
    weights = {f"fine_tune/{k}": v for k, v in tuned.items()} | {f"pretrain/{k}": v for k, v in trained.items()}
    np.savez(folder / f"weights-{rank}.npz", **weights)
    report["trial"], report["trial_id"] = TRIAL, parse(Trial, TRIAL).id
    (folder / f"report-{rank}.json").write_text(json.dumps(report))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    children = [forked(lambda rank=rank: main(Path(sys.argv[1]), rank)) for rank in (0, 1)]
    sys.exit(any([ended(child) for child in children]))
