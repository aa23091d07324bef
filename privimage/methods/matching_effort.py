"""Effort of methods that match means: a few steps of each stage on random images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from privimage.generators import Shape, sizes
from privimage.generators.config import SampleConfig
from privimage.generators.generator import OneStep
from privimage.generators.sampler import draw_images
from privimage.matching.features import PART, Perceptual, Phi, floats, layers_of
from privimage.matching.fit import match
from privimage.matching.stages import MOST_PUBLIC, drawn
from privimage.means.answer import Means
from privimage.methods.effort import (
    CPU,
    LABELS,
    StepSeconds,
    clock,
    pictures,
    query_seconds,
    training_seconds,
    untrained,
)
from privimage.methods.matching_pipeline import critic_of
from privimage.progress import Tell, silent

if TYPE_CHECKING:
    from privimage.methods.matching import MatchingConfig


class MatchingEffort:
    """See Effort. `shape` is that of an image; about `n` are there to train on."""

    def __init__(self, shape: Shape, n: float) -> None:
        self.shape, self.n = shape, n
        self._query = StepSeconds(step=0.0, unit=0.0)
        self._features = dict[str, Phi]()  # of every method
        self._image = dict[str, float]()  # seconds of seeing one image, of every method
        self._step = dict[tuple[str, str, int], float]()  # of a step of training
        self._drawn = dict[str, float]()  # of drawing an image, by size of the generator

    def measure(self, configs: Sequence[MatchingConfig], tell: Tell) -> None:
        """See Effort."""
        kinds = {_kind(config): config for config in configs}
        for number, (kind, config) in enumerate(kinds.items()):
            if config.name not in self._features:
                self._look(config)
            self._step[kind] = self._trained(config)
            self._drawn[config.model.size] = clock(partial(self._draw, config)) / PART
            tell(number + 1, len(kinds))

    def seconds(self, kind: str, config: MatchingConfig) -> float:
        """See Effort."""
        match kind:
            case "query-function":
                return training_seconds(self._query, config.query)
            case "layers":
                return 3 * MOST_PUBLIC * self._image[config.name]  # looked at for each moment
            case "embedding":
                return self.n * self._image[config.name]
            case "model":
                return config.match.steps * self._step[_kind(config)]
            case "samples":
                return config.samples * self._drawn[config.model.size]
        return 0.0

    def bytes(self, kind: str, config: MatchingConfig) -> float:
        """See Effort."""
        features = self._features[config.name]
        kept = sum(array.nbytes for array in features.arrays.values())
        answer = 8 * LABELS * (features.d + 1)
        match kind:
            case "layers":
                return kept
            case "embedding":
                return kept + answer
            case "embedding-derived":
                return answer
            case "model":
                return 4 * sum(p.numel() for p in self._generator(config).F.parameters())
            case "samples":
                return config.samples * (math.prod(self.shape) + 8)
        return 0.0

    def _look(self, config: MatchingConfig) -> None:
        """Time what one image takes to be seen."""
        x = floats(pictures(self.shape, PART), device=CPU)
        if any(stage.kind == "layers" for stage in config.member.declaration.stages):
            function = None
            if config.means.seen_by(self.shape[0]) == "query":
                function = untrained(self.shape, config.query)
                self._query = query_seconds(self.shape, config.query)
            layers = layers_of(function, device=CPU)
            with torch.no_grad():
                arrays = Perceptual.fitted(layers, [x], moments=config.moments)
            features: Phi = Perceptual(layers, arrays, device=CPU)
        else:
            features = drawn(config.member.features, config, self.shape, device=CPU)  # type: ignore[attr-defined]
        self._features[config.name] = features
        with torch.no_grad():
            self._image[config.name] = clock(lambda: features(x)) / PART

    def _trained(self, config: MatchingConfig) -> float:
        """Seconds of a step of training."""
        features, few = self._features[config.name], config.match.model_copy(update={"steps": 2})
        means = Means(M=np.zeros((LABELS, features.d)), noise=np.ones(LABELS), n=np.ones(LABELS))
        return clock(lambda: match(
            self._generator(config), features, means, config=few, seed=0, device=CPU, progress=silent,
            critic=critic_of(features, config, self.shape, device=CPU),
        )) / few.steps  # fmt: skip

    def _draw(self, config: MatchingConfig) -> object:
        return draw_images(self._generator(config), n=PART, config=SampleConfig(), seed=0, device=CPU)

    def _generator(self, config: MatchingConfig) -> OneStep:
        made = sizes.build(config.model.size, shape=self.shape, n_classes=LABELS, seed=0)
        if not isinstance(made, OneStep):
            raise TypeError(type(made).__name__)
        return made


def _kind(config: MatchingConfig) -> tuple[str, str, int]:
    return config.name, config.model.size, config.match.batch
