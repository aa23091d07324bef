"""A function on several workers (Ray Train) or on one, each in its own process with its own CPUs or GPU."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch
from ray import train
from ray.exceptions import RayTaskError
from ray.train import WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from torch.distributed.distributed_c10d import _set_pg_timeout

from privimage.cluster.groups import orphans_removed
from privimage.cluster.memory import give_back
from privimage.cluster.resources import Share
from privimage.errors import PrivImageError
from privimage.workers import Workers

T = TypeVar("T")
CONNECT_SECONDS = 600  # then a network on which workers do not reach each other is an error
WORK_SECONDS = 24 * 3600  # that one worker may ask, write or measure alone, while the others wait


def run_on_workers(work: Callable[[Workers], T], *, share: Share, name: str, storage: Path, retries: int = 1) -> T:
    """What `work(workers)` returns on the first of `share.workers` processes that form one process group.

    A worker that dies takes the group down; the group is started again up to `retries` times, and what was stored
    by then is found there. Gradients travel by gloo on CPUs and nccl on GPUs.
    """

    def loop(_: dict[str, Any]) -> T:
        torch.set_num_threads(max(1, int(share.cpu)))
        _set_pg_timeout(timedelta(seconds=WORK_SECONDS))  # they are connected
        found = work(Workers.of_process_group(get_device(), graphs=share.cuda_graphs))
        train.report({})
        return found

    trainer = TorchTrainer(
        loop,
        train_loop_config={},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if share.gpu > 0 else "gloo", timeout_s=CONNECT_SECONDS),
        scaling_config=train.ScalingConfig(
            num_workers=share.workers, use_gpu=share.gpu > 0, resources_per_worker=share.bundle
        ),
        run_config=train.RunConfig(
            name=name, storage_path=str(storage), failure_config=train.FailureConfig(max_failures=retries)
        ),
    )
    try:
        with orphans_removed():
            return trainer.fit().return_value  # type: ignore[no-any-return]
    except WorkerGroupError as error:  # Ray's wrapping of what was raised in a worker: what is ours stays ours
        ours = (e for _, e in sorted(error.worker_failures.items()) if isinstance(e, PrivImageError))
        raise next(ours, error) from None


def run_alone(work: Callable[[Workers], T], *, share: Share) -> T:
    """What `work(workers)` returns in a process of its own, which Ray gives what one worker of `share` gets.

    That is any process of the cluster: not in what the caller's own process holds.
    """
    # Not by `options`: Ray ends a process that was declared with a GPU, and with it goes what it keeps there.
    bundle = share.bundle
    remote = ray.remote(
        num_cpus=bundle["CPU"],
        num_gpus=bundle.get("GPU", 0),
        memory=bundle.get("memory"),
        max_retries=0,  # Tune begins the trial again
        scheduling_strategy="DEFAULT",
    )
    try:
        return ray.get(remote(_alone).remote(work, share))  # type: ignore[no-any-return]
    except RayTaskError as error:  # as above
        raise (error.cause if isinstance(error.cause, PrivImageError) else error) from None


def _alone(work: Callable[[Workers], T], share: Share) -> T:
    torch.set_num_threads(max(1, int(share.cpu)))
    try:
        return work(Workers.alone(share.device, graphs=share.cuda_graphs))
    finally:
        give_back()
