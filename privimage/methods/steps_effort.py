"""Effort of methods whose generator asks in every step of its training: a few steps of it on random images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from privimage.data.sets import PrivateSet
from privimage.generators import Shape, sizes
from privimage.generators.config import SampleConfig
from privimage.generators.generator import OneStep
from privimage.generators.sampler import draw_images
from privimage.methods.declared import fields_of
from privimage.methods.effort import CPU, LABELS, clock, pictures, random_set
from privimage.methods.method import MethodConfig
from privimage.privacy.budget import Event
from privimage.progress import Tell

FEW, DRAWN = 2, 100  # steps and images that are timed


@dataclass(frozen=True, kw_only=True)
class Stepwise:
    """What is timed: `few` trains with an event of few steps. `kind` names what decides how long a step takes, `steps`
    is how many steps a whole training is worth."""

    few: Callable[[OneStep, PrivateSet, Any, Event], object]
    kind: Callable[[Any], str]
    steps: Callable[[Any], float]


class StepsEffort:
    """See Effort. `shape` is that of an image; about `n` are there to train on."""

    def __init__(self, training: Stepwise, shape: Shape, n: float) -> None:
        self.training, self.shape, self.n = training, shape, n
        self._step = dict[str, float]()  # seconds, by what decides them
        self._drawn = dict[str, float]()  # of drawing an image, by size of the generator

    def measure(self, configs: Sequence[Any], tell: Tell) -> None:
        """See Effort."""
        of, kinds = self.training, {self._kind(config): config for config in configs}
        for number, (kind, config) in enumerate(kinds.items()):
            generator, data = self._generator(config), random_set(pictures(self.shape, round(self.n)), "train")
            event = few_steps(config)
            self._step[kind] = clock(lambda g=generator, d=data, c=config, e=event: of.few(g, d, c, e)) / FEW  # type: ignore[misc]
            self._drawn[config.model.size] = clock(lambda g=generator: draw_images(  # type: ignore[misc]
                g, n=DRAWN, config=SampleConfig(), seed=0, device=CPU
            )) / DRAWN  # fmt: skip
            tell(number + 1, len(kinds))

    def seconds(self, kind: str, config: Any) -> float:
        """See Effort."""
        match kind:
            case "generator":
                return self.training.steps(config) * self._step[self._kind(config)]
            case "samples":
                return float(config.samples) * self._drawn[config.model.size]
        return 0.0

    def bytes(self, kind: str, config: Any) -> float:
        """See Effort."""
        weights = 4 * sum(p.numel() for p in self._generator(config).F.parameters())
        return {
            "generator": weights,
            "model": weights,
            "samples": float(config.samples) * (math.prod(self.shape) + 8),
        }.get(kind, 0.0)

    def _kind(self, config: Any) -> str:
        return f"{config.model.size} {self.training.kind(config)}"

    def _generator(self, config: Any) -> OneStep:
        made = sizes.build(config.model.size, shape=self.shape, n_classes=LABELS, seed=0)
        if not isinstance(made, OneStep):
            raise TypeError(type(made).__name__)
        return made


def few_steps(config: MethodConfig) -> Event:
    """What such a training asks, but in few steps."""
    ((_, ask),) = config.member.declaration.asking
    return ask.access(fields_of(config)).event(1.0).model_copy(update={"steps": FEW})
