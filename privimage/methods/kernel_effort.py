"""Effort of DP-Kernel: a few steps of its training on random images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from privimage.generators import Shape, sizes
from privimage.generators.config import SampleConfig
from privimage.generators.generator import OneStep
from privimage.generators.sampler import draw_images
from privimage.matching.kernel import train
from privimage.methods.effort import CPU, LABELS, clock, pictures, random_set
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell, silent

if TYPE_CHECKING:
    from privimage.methods.kernel import KernelMethodConfig

FEW = 2  # steps that are timed
DRAWN = 100  # images


class KernelEffort:
    """See Effort. `shape` is that of an image; about `n` are there to train on."""

    def __init__(self, shape: Shape, n: float) -> None:
        self.shape, self.n = shape, n
        self._step = dict[str, float]()  # seconds, by what decides them
        self._drawn = dict[str, float]()  # of drawing an image, by size of the generator

    def measure(self, configs: Sequence[KernelMethodConfig], tell: Tell) -> None:
        """See Effort."""
        kinds = {_kind(config): config for config in configs}
        for number, (kind, config) in enumerate(kinds.items()):
            generator, data = self._generator(config), random_set(pictures(self.shape, round(self.n)), "train")
            event = Event(purpose="kernel means", sigma=1.0, q=config.kernel.q, steps=FEW, split="train")
            self._step[kind] = clock(lambda g=generator, d=data, c=config.kernel, e=event: train(  # type: ignore[misc]
                g, d, config=c, event=e, entropy=Entropy.fresh(), seed=0, device=CPU, progress=silent
            )) / FEW  # fmt: skip
            self._drawn[config.model.size] = clock(lambda g=generator: draw_images(  # type: ignore[misc]
                g, n=DRAWN, config=SampleConfig(), seed=0, device=CPU
            )) / DRAWN  # fmt: skip
            tell(number + 1, len(kinds))

    def seconds(self, kind: str, config: KernelMethodConfig) -> float:
        """See Effort."""
        match kind:
            case "generator":
                return config.kernel.steps * self._step[_kind(config)]
            case "samples":
                return config.samples * self._drawn[config.model.size]
        return 0.0

    def bytes(self, kind: str, config: KernelMethodConfig) -> float:
        """See Effort."""
        weights = 4 * sum(p.numel() for p in self._generator(config).F.parameters())
        return {
            "generator": weights,
            "model": weights,
            "samples": config.samples * (math.prod(self.shape) + 8),
        }.get(kind, 0.0)

    def _generator(self, config: KernelMethodConfig) -> OneStep:
        made = sizes.build(config.model.size, shape=self.shape, n_classes=LABELS, seed=0)
        if not isinstance(made, OneStep):
            raise TypeError(type(made).__name__)
        return made


def _kind(config: KernelMethodConfig) -> str:
    kernel = config.kernel
    return f"{config.model.size} {kernel.q} {kernel.features} {kernel.batch}"
