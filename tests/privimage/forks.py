"""Run as a script: `killed FOLDER STRIDE MOMENTS` or `group FOLDER SIZE`. Imports once, then forks. Not a test module.

Processes are killed with SIGKILL, at every STRIDE-th point and at MOMENTS random moments; or they are the workers of
one group. FOLDER holds the data; report.json is what happened.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from privimage import checkpoint, disk
from privimage.checkpoint import NO_CHECKPOINT, Checkpoint
from privimage.data.sets import PrivateSet, PublicSet, SensitiveData
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.errors import PrivImageError
from privimage.generators import sizes
from privimage.methods.context import Context
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Budget, Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look
from privimage.privacy.noise import Noise
from privimage.schema import digest
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.workers import Workers

ENTROPY, CLIP = Entropy(b"5" * 32), 1e-3
EVENT = Event(purpose="dp-sgd", split="train", sigma=1.5, q=0.6, steps=5)
BUDGET = Budget(epsilon=8, delta=1e-5)
QS = {"blocks": 0.9, "one": 0.1, "none": 1e-9}  # of 300 examples: five blocks of 64, one, and none
METHOD = {
    "name": "pdp-diffusion",
    "model": {"size": "dct-mlp-192"},
    "pretrain": {"images": 96, "batch": 16},
    "finetune": {"steps": 6, "q": 0.5, "averaged": 0.5},
    "sample": {"steps": 4},
    "samples": 12,
}


def forked(work: Callable[[], None]) -> int:
    """The id of a child process that does `work` and ends with 0, or with 1 after an error."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int) -> int:
    """0, 1, or minus the signal that ended the child."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def private_set(folder: Path) -> PrivateSet:
    data = np.load(folder / "sensitive.npz")
    return PrivateSet(x=data["x"], y=data["y"], name="toy", id="toy-v1", split="train", classes=("a", "b", "c"))


# ---- killed


def images(root: Path, sensitive: PrivateSet) -> None:
    """The real pipeline, pre-trained and fine-tuned, with a checkpoint at every step."""
    checkpoint.SECONDS, checkpoint.SHARE = 0.0, float("inf")
    secrets.token_bytes = lambda count: ENTROPY.raw  # so that all runs are to end alike
    real = Checkpoint.restore

    def restore(self: Checkpoint, parts: Any) -> int:
        done = real(self, parts)
        with (root / "restored").open("a") as file:
            file.write(f"{done}\n")
        return done

    Checkpoint.restore = restore  # type: ignore[method-assign]
    at = FileStore(root / "store")
    stages = Stages(workers=Workers.alone(), store=at, cache=at, ledger=Ledger(root / "ledger.jsonl"))
    public = PublicSet(x=sensitive.x, y=sensitive.y, name="toy-public", classes=("a", "b", "c"))
    config, identity = resolve(METHOD), {"sensitive": "toy", "public": "toy-public"}
    context = Context(
        config=config,
        events=config.member.events(config, BUDGET, Noise(), identity=identity),
        draw=None,
        seed=1,
        asked_sigma={},
        public=public,
        sensitive=SensitiveData(
            train=sensitive, validation=replace(sensitive, split="validation"), test=replace(sensitive, split="test")
        ),
        identity=identity,
        stages=stages,
    )
    config.member.images(context)


ON_DISK = ((os, "replace"), (os, "rename"), (os, "link"), (os, "unlink"), (os, "fsync"))


def dies_at(point: int) -> list[int]:
    """Let this process die at its `point`-th point; the list counts them.

    A point is before and after every call that reaches the disk, and in the middle of every file that is written.
    """
    passed = [0]

    def tick() -> None:
        passed[0] += 1
        if passed[0] == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **rest: Any) -> Any:
            tick()
            result = real(*args, **rest)
            tick()
            return result

        return call

    for place, name in ON_DISK:
        setattr(place, name, watched(getattr(place, name)))
    write = disk.write

    def in_two(path: Path, raw: bytes) -> None:
        path.write_bytes(raw[: len(raw) // 2])
        tick()
        write(path, raw)

    disk.write = in_two
    return passed


def outcome(root: Path) -> dict[str, Any]:
    """What is on disk at the end, but for drafts of artefacts; the ledger without its times."""
    paths = (root / "store" / "artefacts").glob("*/[!.]*/manifest.json")
    manifests = (json.loads(path.read_text()) for path in paths)
    return {
        "artefacts": sorted((m["kind"], m["key"], m["sha256"]) for m in manifests),
        "charges": [[charge.id, len(charge.events)] for charge in Ledger(root / "ledger.jsonl").charges()],
        "internal": sorted(path.name for path in (root / "store" / "internal").iterdir()),
    }


def killed(folder: Path, stride: int, moments: int) -> dict[str, Any]:
    sensitive = private_set(folder)
    config, identity = resolve(METHOD), {"sensitive": "toy", "public": "toy-public"}
    config.member.events(config, BUDGET, Noise(), identity=identity)  # calibrated once, here
    whole, count = folder / "whole", folder / "count"
    whole.mkdir()

    def counted() -> None:
        passed = dies_at(0)
        images(whole, sensitive)
        count.write_text(str(passed[0]))

    start = time.monotonic()
    assert ended(forked(counted)) == 0
    seconds, points = time.monotonic() - start, int(count.read_text())
    expected, runs = outcome(whole), []

    def run(name: str, kill: Callable[[Path], None]) -> None:
        root = folder / name
        root.mkdir()
        kill(root)
        assert ended(forked(lambda: images(root, sensitive))) == 0
        restored = [int(line) for line in (root / "restored").read_text().split()]
        runs.append({"name": name, "restored": restored, "same": outcome(root) == expected})
        shutil.rmtree(root)

    def at_point(root: Path, point: int) -> None:
        assert ended(forked(lambda: [dies_at(point), images(root, sensitive)].clear())) == -signal.SIGKILL

    def at_moments(root: Path) -> None:
        for _ in range(random.randint(1, 3)):
            child = forked(lambda: images(root, sensitive))
            time.sleep(random.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            ended(child)

    for point in range(random.randint(1, stride), points + 1, stride):
        run(f"point-{point}", lambda root, point=point: at_point(root, point))
    for moment in range(moments):
        run(f"moment-{moment}", at_moments)
    return {"points": points, "expected": expected, "runs": runs}


# ---- group


def tuned(
    workers: Workers,
    sensitive: PrivateSet,
    event: Event,
    *,
    place: Checkpoint = NO_CHECKPOINT,
    die_after: int = 0,
) -> dict[str, np.ndarray]:
    """The fine-tuned weights, and the gradients of the last step."""
    generator = sizes.build("dct-mlp-192", shape=sensitive.shape, n_classes=3, seed=0)
    config = FinetuneConfig(C=CLIP, K=1, optimizer="adam", lr=1e-3, physical_batch=64)

    def progress(done: int, total: int) -> None:
        if done == die_after:
            raise InterruptedError

    arguments: dict[str, Any] = {"config": config, "event": event, "entropy": ENTROPY, "workers": workers}
    release = fine_tune(generator, sensitive, **arguments, progress=progress, checkpoint=place)
    grads = {f"grad/{name}": p.grad.numpy() for name, p in generator.F.named_parameters() if p.grad is not None}
    return {name: tensor.numpy() for name, tensor in release.value.state.items()} | grads


def shares(workers: Workers, sensitive: PrivateSet, folder: Path) -> list[dict[str, Any]]:
    """Fine-tuning with shares of several blocks, of one, and of none; what every sum over workers was given."""
    reports = []
    for name, q in QS.items():
        sent: list[float] = []
        real = dist.all_reduce

        def counted(flat: torch.Tensor, real: Any = real, sent: list[float] = sent) -> None:
            sent.append(flat.norm().item())
            real(flat)

        dist.all_reduce = counted
        weights = tuned(workers, sensitive, EVENT.model_copy(update={"q": q}))
        dist.all_reduce = real
        np.savez(folder / f"{name}-{workers.size}-{workers.rank}.npz", **weights)
        reports.append({"name": name, "sent": sent})
    return reports


def elastic(workers: Workers, sensitive: PrivateSet, folder: Path) -> list[int]:
    """Killed after step 3 of 5 with all workers; finished by them, and by the first alone from a copy of the store.

    Returns the steps that were done at either restart, as the first worker saw them.
    """
    checkpoint.SECONDS, checkpoint.SHARE = 0.0, float("inf")
    roots, found = [folder / f"elastic-{workers.size}", folder / f"elastic-{workers.size}-alone"], []
    place = Checkpoint(store=FileStore(roots[0]), name="g", entropy=ENTROPY, workers=workers)
    try:
        tuned(workers, sensitive, EVENT, place=place, die_after=3)
    except InterruptedError:
        dist.barrier()
    if workers.first:
        shutil.copytree(*roots)
    for name, team, root in (("together", workers, roots[0]), ("alone", Workers.alone(), roots[1])):
        if workers.first or team.size > 1:
            place = Checkpoint(store=FileStore(root), name="g", entropy=ENTROPY, workers=team)
            real = place.restore
            place.restore = lambda parts, real=real: (found.append(real(parts)), found[-1])[1]  # type: ignore[method-assign]
            np.savez(folder / f"{name}-{workers.size}-{workers.rank}.npz", **tuned(team, sensitive, EVENT, place=place))
    np.savez(folder / f"whole-{workers.size}-{workers.rank}.npz", **tuned(workers, sensitive, EVENT))
    return found


def errors(workers: Workers, folder: Path) -> dict[str, list[str]]:
    """What every worker meets when the first one cannot read, ask, charge or store; after each they still agree."""
    seen: dict[str, list[str]] = {}
    for name in ("manifest", "lost", "ledger", "diagnostic", "full"):
        root = folder / f"errors-{name}"
        at = FileStore(root / "store")
        stages = Stages(workers=workers, store=at, cache=at, ledger=Ledger(root / "ledger.jsonl"))
        if workers.first:
            break_(name, stages, at)
        dist.barrier()
        try:
            if name == "diagnostic":
                stages.look(Look(split="train", what="row real"))
            else:
                stages.private("kind", {}, what="x", events=(EVENT,), build=asked)
        except (PrivImageError, OSError) as error:
            seen[name] = [type(error).__name__, str(error)]
        total = [torch.ones(1)]
        workers.all_reduce(total)  # nobody is left behind in an earlier call
        assert total[0].item() == workers.size
    return seen


def break_(name: str, stages: Stages, at: FileStore) -> None:
    key = digest({"kind": "kind"})
    if name == "manifest":
        at.folder("kind", key).mkdir(parents=True)
        (at.folder("kind", key) / "manifest.json").write_text("{")
        (at.folder("kind", key) / "arrays.safetensors").touch()
    elif name == "lost":
        stages.ledger.charge(id=key, what="x", events=(EVENT,))
    elif name in ("ledger", "diagnostic"):
        stages.ledger.path.parent.mkdir(parents=True)
        stages.ledger.path.write_text("{}\n")
    else:
        at.root.mkdir(parents=True)
        (at.root / "artefacts").touch()  # no folder can be made below it


def asked(entropy: Entropy, progress: Any) -> Built:
    return Built(arrays={"a": np.ones(1)}, privacy="released")


def worker(folder: Path, rank: int, size: int, sensitive: PrivateSet) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    workers = Workers.of_process_group()
    report: dict[str, Any] = {"shares": shares(workers, sensitive, folder), "errors": errors(workers, folder)}
    report["elastic"] = elastic(workers, sensitive, folder)
    (folder / f"report-{rank}.json").write_text(json.dumps(report))
    dist.barrier()


def deserted(folder: Path, rank: int, size: int, who: int) -> None:
    """The worker `who` meets an error of its own in the middle of a build."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/deserted-{who}", rank=rank, world_size=size)
    workers, at = Workers.of_process_group(), FileStore(folder / f"deserted-{who}.store")
    stages = Stages(workers=workers, store=at, cache=at, ledger=Ledger(folder / f"deserted-{who}.jsonl"))

    def build(progress: Any) -> Built:
        for step in range(3):
            if step == 2 and rank == who:
                raise MemoryError
            workers.all_reduce([torch.ones(2)])
        return Built(arrays={"a": np.ones(1)}, privacy="public")

    sys.stderr = open(os.devnull, "w")
    stages.public("kind", {}, build)


def group(folder: Path, size: int) -> dict[str, Any]:
    sensitive = private_set(folder)
    assert ended(forked(lambda: [shares(Workers.alone(), sensitive, folder)].clear())) == 0
    team = [forked(lambda rank=rank: worker(folder, rank, size, sensitive)) for rank in range(size)]
    report: dict[str, Any] = {"ends": [ended(child) for child in team], "deserted": []}
    for who in (0, size - 1):
        start = time.monotonic()
        team = [forked(lambda rank=rank, who=who: deserted(folder, rank, size, who)) for rank in range(size)]
        report["deserted"].append({"ends": [ended(child) for child in team], "seconds": time.monotonic() - start})
    return report


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, place, *numbers = sys.argv[1:]
    made = {"killed": killed, "group": group}[what](Path(place), *map(int, numbers))
    (Path(place) / "report.json").write_text(json.dumps(made))
