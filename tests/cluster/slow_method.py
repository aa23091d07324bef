"""A method whose stages take their time and say what they hold of the cluster; no stage of it touches a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

METHOD = '''
"""Noisy mean images, slowly: every stage writes down what it holds, and what of the cluster is held meanwhile."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import ray
from pydantic import Field

from privimage.methods.context import Context
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, Synthetic
from privimage.stores.store import Built

LOG = Path(os.environ["SLOW_LOG"])


def work(stage, device, seconds):
    began = time.time()
    time.sleep(seconds)
    free, have = ray.available_resources(), ray.cluster_resources()
    here = ray.get_runtime_context()
    line = {"stage": stage, "pid": os.getpid(), "device": device.type,
            "node": here.get_node_id(), "mine": here.get_assigned_resources(),
            "gpus": have.get("GPU", 0) - free.get("GPU", 0), "began": began, "ended": time.time()}
    with (LOG / "log").open("a") as file:
        file.write(json.dumps(line) + chr(10))


class SlowConfig(MethodConfig):
    rounds: int = Field(default=1, ge=1)


class Slow(Method):
    what = "slow noisy mean images"
    config = SlowConfig
    stages = (
        Stage(kind="warm", world=("public",), share="pretrain"),
        Stage(kind="means", world=("sensitive", "draw"), asks=Ask(purpose="means", steps="rounds"), share="finetune"),
        Stage(kind="samples", fields=("samples",), world=("seed",), share="sample"),
    )

    def images(self, context: Context) -> Synthetic:
        train, event, n = context.sensitive.train, context.events["means"], context.config.samples
        inputs, stages, labels = context.inputs, context.stages, len(train.classes)

        def warm(progress):
            work("warm", stages.workers.device, 6)
            (LOG / "first").write_text(str(event.steps))
            return Built(arrays={"x": np.zeros(1)}, privacy="public")

        def ask(entropy, progress):
            work("means", stages.workers.device, 2)
            sums = np.zeros((labels, *train.shape))
            for label, image in zip(train.y, train.each()):
                sums[label] += image / 255
            each = [event.perturb(sums, sensitivity=sums[0].size**0.5, stream=entropy.stream(f"round {i}"))
                    for i in range(event.steps)]
            return Built(arrays={"means": np.mean(each, axis=0)}, privacy=context.privacy, events=(event,))

        def draw(progress):
            work("samples", stages.workers.device, 2)
            if (LOG / "first").read_text() == str(event.steps):  # the trial that began: killed once
                (LOG / "first").write_text("")
                os.kill(os.getpid(), signal.SIGKILL)
            y = np.arange(n) % labels
            x = (255 * (means[y] / np.abs(means).max()).clip(0, 1)).astype(np.uint8)
            return Built(arrays={"x": x, "y": y}, privacy=context.privacy, events=context.paid)

        stages.public("warm", inputs.of("warm"), warm)
        asked = stages.private("means", inputs.of("means"), what=event.purpose, events=(event,), build=ask)
        means = asked.arrays["means"]
        made = stages.public("samples", inputs.of("samples"), draw).arrays
        return Synthetic(x=made["x"], y=made["y"], inputs=inputs)


slow = Slow()
'''


def slow_sweep(values: dict[str, Any], folder: Path, **fields: Any) -> Path:
    """The file of a sweep of that method: two trials, one training each."""
    own = {
        "method": {"name": "slow", "samples": 40},
        "search": {"method.rounds": {"choice": [1, 2]}},
        "budgets": values["budgets"][:1],
        "trials": 2,
    }
    file = folder / "slow.yaml"
    file.write_text(yaml.safe_dump({**values, **own, **fields}))
    return file


def logged(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the stages wrote down, by stage."""
    found: dict[str, list[dict[str, Any]]] = {"warm": [], "means": [], "samples": []}
    for line in (folder / "log").read_text().splitlines():
        one = json.loads(line)
        found[one["stage"]].append(one)
    return found
