"""The guards of the noise, the clip and the splits: each is met once, and raises (no assert: `python -O` drops it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import toys
from known import entropy
from small_networks import LOSS, Shape, draws_of, net

from privimage import shared_answer
from privimage.data.sets import PrivateSet, SensitiveData
from privimage.dpsgd import layers
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StepNoise
from privimage.dpsgd.rules import fastest
from privimage.dpsgd.spectral import SpectralDescent
from privimage.errors import Violation
from privimage.generators.generator import Generator
from privimage.metrics.dp_score import dp_accuracy
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.workers import Workers

DATA, ONE = toys.sensitive_set(), entropy(1)


def tune(images: PrivateSet, generator: Generator | None = None, **event: Any) -> None:
    what = Event(purpose="dp-sgd", split="train", sigma=1, q=0.5).model_copy(update=event)
    fixed: dict[str, Any] = {"config": FinetuneConfig(engine="layers"), "entropy": ONE, "workers": Workers.alone()}
    fine_tune(generator or toys.tiny(), images, event=what, **fixed)


def score(images: PrivateSet) -> None:
    x, y = toys.pictures(30, 3, seed=9)
    event = Event(purpose="score", split="validation", sigma=1)
    dp_accuracy(x, y, classifier="lr", validation=images, event=event, entropy=ONE)


def a_layer_without_a_rule() -> None:
    generator = toys.tiny()
    generator.F.extra = torch.nn.LayerNorm(4)
    tune(DATA.train, generator)


def a_weight_that_is_used_unseen() -> None:
    generator = toys.tiny()
    real, first = generator.F.forward, generator.F.first.weight
    generator.F.forward = lambda *inputs: real(*inputs) + first.sum()
    tune(DATA.train, generator)


def noise_for_a_second_sum() -> None:
    with StepNoise(ONE, count=3, device=torch.device("cpu")) as noise:
        noise.begin(0)
        noise.take()
        noise.take()


def a_kernel_that_is_wrong() -> None:
    with pytest.MonkeyPatch.context() as patch:
        real = fastest.KERNELS["columns"]
        patch.setitem(fastest.KERNELS, "columns", lambda *args: real(*args) * 1.1)
        patch.setattr(fastest, "CHOICES", {})
        layers.add_clipped_sum(net(Shape()), draws_of(4, 3), loss=LOSS, C=1.0)


GUARDS: dict[str, Callable[[], object]] = {
    "training on another split": lambda: tune(DATA.validation),
    "a score on another split": lambda: score(DATA.train),
    "splits that change places": lambda: SensitiveData(train=DATA.test, validation=DATA.validation, test=DATA.train),
    "less noise than was asked with": lambda: shared_answer.noisier(
        np.zeros((2, 3)), sensitivity=1, asked=5, wanted=3, entropy=ONE
    ),
    "a seed for an entropy": lambda: Entropy(7),  # type: ignore[arg-type]
    "an impossible share of the law": lambda: Law(mean=3).quantile(1.0),
    "noise for a second sum": noise_for_a_second_sum,
    "a layer without a rule": a_layer_without_a_rule,
    "a weight that is used unseen": a_weight_that_is_used_unseen,
    "a kernel that is wrong": a_kernel_that_is_wrong,
    "a closure": lambda: SpectralDescent(toys.tiny().F.parameters(), lr=1, momentum=0, noise_std=1).step(lambda: 0),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_raises(guard: str) -> None:
    with pytest.raises((Violation, ValueError)):
        GUARDS[guard]()
