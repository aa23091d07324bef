"""Ray Train: the same function on several workers, each in its own process with its own CPUs or GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray import train
from ray.train import WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from privimage.cluster.resources import Resources
from privimage.errors import PrivImageError
from privimage.workers import Workers


def run_on_workers(
    work: Callable[[Workers], None], *, resources: Resources, name: str, storage: Path, retries: int = 1
) -> None:
    """Run `work(workers)` on `resources.workers` processes that form one process group; return when all are done.

    A worker that dies takes the group down; the group is started again up to `retries` times, and what was stored
    by then is found there. Gradients travel by gloo on CPUs and nccl on GPUs.
    """

    def loop(_: dict[str, Any]) -> None:
        torch.set_num_threads(max(1, int(resources.cpu)))
        work(Workers.of_process_group(get_device(), graphs=resources.cuda_graphs))
        train.report({})

    trainer = TorchTrainer(
        loop,
        train_loop_config={},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if resources.gpu > 0 else "gloo", timeout_s=24 * 3600),
        scaling_config=train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpu > 0,
            resources_per_worker={"CPU": resources.cpu} | ({"GPU": resources.gpu} if resources.gpu else {}),
        ),
        run_config=train.RunConfig(
            name=name, storage_path=str(storage), failure_config=train.FailureConfig(max_failures=retries)
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:  # Ray's wrapping of what was raised in a worker: what is ours stays ours
        ours = (e for _, e in sorted(error.worker_failures.items()) if isinstance(e, PrivImageError))
        raise next(ours, error) from None
