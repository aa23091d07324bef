from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import torch

from privimage import checkpoint
from privimage.cluster import train
from privimage.cluster.resources import Share
from privimage.cluster.train import run_on_workers
from privimage.errors import InputError
from privimage.privacy.ledger import Ledger
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state
from privimage.workers import Workers

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files

HALF = Share(workers=2, cpu=0.5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_form_one_group(tmp_path: Path, local_ray: None) -> None:
    def work(workers: Workers) -> None:
        values = [torch.full((3,), float(workers.rank + 1)), torch.tensor(10.0 * workers.rank)]
        workers.all_reduce(values)
        said = workers.broadcast(f"hello from {workers.rank}")
        line = f"{workers.size} {workers.first} {values[0].tolist()} {values[1].item()} {said} {workers.device}"
        (tmp_path / f"{workers.rank}").write_text(line)

    run_on_workers(work, share=HALF, name="group", storage=tmp_path / "ray")
    rest = "[3.0, 3.0, 3.0] 10.0 hello from 0 cpu"
    assert (tmp_path / "0").read_text() == f"2 True {rest}"
    assert (tmp_path / "1").read_text() == f"2 False {rest}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_may_work_alone_for_longer_than_all_may_take_to_connect(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(workers: Workers) -> None:
        if workers.first:
            time.sleep(30)
        workers.all_reduce([torch.ones(1)])
        (tmp_path / f"done-{workers.rank}").touch()

    monkeypatch.setattr(train, "CONNECT_SECONDS", 20)
    run_on_workers(work, share=HALF, name="patient", storage=tmp_path / "ray", retries=0)
    assert (tmp_path / "done-0").exists() and (tmp_path / "done-1").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_dies_is_started_again_with_its_group(tmp_path: Path, local_ray: None) -> None:
    def work(workers: Workers) -> None:
        with (tmp_path / f"starts-{workers.rank}").open("a") as file:
            file.write("x")
        workers.broadcast(0)
        if workers.rank == 1 and (tmp_path / "starts-1").read_text() == "x":
            os.kill(os.getpid(), signal.SIGKILL)
        workers.all_reduce([torch.ones(1)])
        (tmp_path / f"done-{workers.rank}").touch()

    run_on_workers(work, share=HALF, name="dies", storage=tmp_path / "ray", retries=1)
    assert (tmp_path / "starts-0").read_text() == (tmp_path / "starts-1").read_text() == "xx"
    assert (tmp_path / "done-0").exists() and (tmp_path / "done-1").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_group_that_dies_in_mid_stage_goes_on_from_its_checkpoint(tmp_path: Path, local_ray: None) -> None:
    def work(workers: Workers) -> None:
        checkpoint.SECONDS, checkpoint.SHARE = 0.0, float("inf")
        store = FileStore(tmp_path / "store")
        stages = Stages(workers=workers, store=store, cache=store, ledger=Ledger(tmp_path / "ledger.jsonl"))
        F = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(F.weight)

        def build(progress: Callable[[int, int], None]) -> Built:
            place, parts = stages.checkpoint("kind", {}), {"F": F}
            done = place.restore(parts)
            with (tmp_path / f"restored-{workers.rank}").open("a") as file:
                file.write(str(done))
            for step in range(done, 5):
                one = [torch.ones(1, 1)]
                workers.all_reduce(one)
                if workers.rank == 1 and step == 3 and done == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                with torch.no_grad():
                    F.weight += one[0]
                place.save(step + 1, parts)
            return Built(arrays=numpy_state(F.state_dict()), privacy="public")

        artefact = stages.public("kind", {}, build)
        (tmp_path / f"done-{workers.rank}").write_text(str(artefact.arrays["weight"].item()))

    run_on_workers(work, share=HALF, name="goes-on", storage=tmp_path / "ray", retries=1)
    for rank in (0, 1):
        assert (tmp_path / f"done-{rank}").read_text() == "10.0"
        assert (tmp_path / f"restored-{rank}").read_text() in ("03", "04")  # the first one may be a step ahead
    assert not list((tmp_path / "store" / "internal").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_error_of_a_worker_reaches_the_caller(tmp_path: Path, local_ray: None) -> None:
    def work(workers: Workers) -> None:
        if workers.rank == 1:
            raise InputError("what went wrong")

    with pytest.raises(InputError, match="what went wrong"):
        run_on_workers(work, share=HALF, name="error", storage=tmp_path / "ray", retries=0)
