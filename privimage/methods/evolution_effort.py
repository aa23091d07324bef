"""Effort of Private Evolution: as that of a diffusion method, and what the rounds of votes take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from privimage.generators.generator import FIT_IMAGES
from privimage.methods.effort import (
    LABELS,
    DiffusionEffort,
    StepSeconds,
    query_seconds,
    seen_seconds,
    training_seconds,
)
from privimage.methods.evolution_pipeline import KEPT
from privimage.progress import Tell


class EvolutionEffort(DiffusionEffort):
    """See Effort."""

    def measure(self, configs: Sequence[Any], tell: Tell) -> None:
        """See Effort."""
        sized = {config.model.size: config for config in configs}
        total = 2 * len(sized) + 2
        for size, config in sized.items():
            for kind, time_it in {"public-generator": self._pretrain, "samples": self._sample}.items():
                self._speed[f"{kind} {size}"] = time_it(config)
                tell(len(self._speed), total)
        self._speed["query-function"] = query_seconds(self.shape, configs[0].query)
        each = seen_seconds(configs[0].evolve.seen_by(self.shape[0]), self.shape, configs[0].query)
        self._speed["seen"] = StepSeconds(step=0.0, unit=each)
        tell(total, total)

    def seconds(self, kind: str, config: Any) -> float:
        """See Effort."""
        size, evolve = config.model.size, config.evolve
        match kind:
            case "query-function":
                return training_seconds(self._speed[kind], config.query)
            case "public-generator":
                pre = config.pretrain
                return self._speed[f"{kind} {size}"].of(steps=pre.images / pre.batch, units=pre.images)
            case "candidates":
                return self._drawn(config, float(FIT_IMAGES + evolve.first))
            case "votes":
                made = float((evolve.rounds - 1) * evolve.candidates * LABELS)
                return self._drawn(config, made) + (self.n + float(evolve.first) + made) * self._speed["seen"].unit
            case "model":
                return self._drawn(config, FIT_IMAGES)
            case "samples":
                return self._drawn(config, config.samples)
        return 0.0

    def _drawn(self, config: Any, n: float) -> float:
        """Seconds of drawing n images."""
        calls = config.sample.steps * (2 if config.sample.guidance else 1)
        cost = self._speed[f"samples {config.model.size}"]
        return cost.of(steps=calls * n / config.sample.batch, units=calls * n)

    def bytes(self, kind: str, whole: Any) -> float:
        """See Effort."""
        image = math.prod(self.shape)
        weights = 4 * sum(p.numel() for p in self._generator(whole).F.parameters())
        match kind:
            case "public-generator":
                return weights
            case "candidates":
                return float(whole.evolve.first) * image
            case "votes":
                return float(LABELS * whole.evolve.candidates * (image + 8))
            case "model":
                return weights + LABELS * KEPT * (image + 8)
            case "samples":
                return float(whole.samples * (image + 8))
        return 0.0
