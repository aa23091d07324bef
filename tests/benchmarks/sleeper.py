"""A method that sleeps where others compute: what a sweep costs around its trials. Installed as a user's package is.

Its stages are those of any method: one question that all trials share, one pre-training for every `group`, one private
training a trial whose noise follows from the budget, images. They sleep, write arrays of real size, and leave a line in
the file $SLEEPER_LOG, by which it is seen how often each of them really ran.
"""

from __future__ import annotations

from pathlib import Path

MODULE = '''
"""See the file that wrote this."""

import os
import time

import numpy as np
from pydantic import Field

from privimage.methods.context import Context
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, Synthetic
from privimage.metrics import Family, MetricContext
from privimage.privacy.budget import Release
from privimage.shared_answer import shared_answer, stages_of
from privimage.stores.store import Built


class SleepConfig(MethodConfig):
    counts: float = 20.0
    group: int = Field(default=0, ge=0)
    point: int = Field(default=0, ge=0)
    weights: int = 1_750_000
    pretrain_seconds: float = 1.0
    train_seconds: float = 1.0


def ran(kind: str, inputs: object) -> None:
    """A line in the log, written at once."""
    handle = os.open(os.environ["SLEEPER_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{kind} {hash_of(inputs)}\\n".encode())
    finally:
        os.close(handle)


def hash_of(inputs: object) -> str:
    from privimage.schema import digest

    return digest(inputs)[:16]


class Sleep(Method):
    what = "a method that sleeps"
    config = SleepConfig
    stages = (
        *stages_of("counts", purpose="label counts", sigma="counts", fields=(), after=()),
        Stage(kind="pretrained", fields=("group", "weights", "pretrain_seconds"), world=("public",), after=()),
        Stage(
            kind="model",
            fields=("point", "train_seconds"),
            world=("sensitive", "draw"),
            after=("counts-derived", "pretrained"),
            asks=Ask(purpose="training"),
        ),
        Stage(kind="samples", fields=("samples",), world=("seed",)),
    )

    def images(self, context: Context) -> Synthetic:
        config, stages, inputs, n = context.config, context.stages, context.inputs, context.config.samples
        train, event = context.sensitive.train, context.events["model"]

        def counted(event, entropy):
            ran("counts", inputs.of("counts"))
            exact = np.bincount(train.y, minlength=len(train.classes))
            value = event.perturb(exact, sensitivity=1.0, stream=entropy.stream("counts"))
            return Release(value=value, events=(event,))

        def pretrain(progress):
            ran("pretrained", inputs.of("pretrained"))
            time.sleep(config.pretrain_seconds)
            weights = np.random.default_rng(config.group).normal(size=config.weights).astype(np.float32)
            return Built(arrays={"weights": weights}, privacy="public")

        def learn(entropy, progress):
            ran("model", inputs.of("model"))
            time.sleep(config.train_seconds)
            step = event.perturb(np.zeros(8), sensitivity=1.0, stream=entropy.stream("model"))
            weights = pretrained["weights"] + np.float32(step.mean())
            return Built(arrays={"weights": weights}, privacy=context.privacy, events=(event,))

        def draw(progress):
            ran("samples", inputs.of("samples"))
            rng, y = np.random.default_rng(config.point), np.arange(n) % len(train.classes)
            x = rng.integers(0, 256, (n, *train.shape), dtype=np.uint8)
            return Built(arrays={"x": x, "y": y}, privacy=context.privacy, events=context.paid)

        shared_answer("counts", context, sensitivity=1.0, ask=counted)
        pretrained = stages.public("pretrained", inputs.of("pretrained"), pretrain).arrays
        stages.private("model", inputs.of("model"), what=event.purpose, events=(event,), build=learn)
        made = stages.public("samples", inputs.of("samples"), draw).arrays
        return Synthetic(x=made["x"], y=made["y"], inputs=inputs)


class Mean(Family):
    what = "mean of the images"
    direction = "min"
    reads = ()

    def measure(self, variant: str, context: MetricContext) -> float:
        return float(context.x.mean())


sleep, mean = Sleep(), Mean()
'''
POINTS = """
[privimage.methods]
sleep = privimage_sleeper:sleep
[privimage.metrics]
mean = privimage_sleeper:mean
"""


def install(site: Path) -> None:
    """The package in a folder, as pip would leave it: put that on PYTHONPATH."""
    info = site / "privimage_sleeper-0.1.dist-info"
    info.mkdir(parents=True)
    (site / "privimage_sleeper.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: privimage-sleeper\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(POINTS)
