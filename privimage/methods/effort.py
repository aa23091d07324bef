"""Effort: how long the stages of a diffusion method take here, by a few steps of each on random images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from privimage.data.sets import Images, Part, PrivateSet, PublicSet
from privimage.dpsgd.finetune import fine_tune
from privimage.generators import Shape, sizes
from privimage.generators.generator import FIT_IMAGES, Generator
from privimage.generators.pretrain import pretrain
from privimage.generators.sampler import draw_images
from privimage.means import tilt
from privimage.means.config import BLOCK, MOST_DIRECTIONS, SeenBy
from privimage.means.features import extractor
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell, silent
from privimage.query import QueryConfig
from privimage.query_network import query_network
from privimage.query_training import train_query_function
from privimage.semantics import QueryFunction
from privimage.workers import Workers

if TYPE_CHECKING:
    from privimage.methods.config import DiffusionConfig

LABELS, CLASSES = 10, 1000
EVERY = 10  # steps that are looked at, at most
FEW = 100  # images that a large network is timed on
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class StepSeconds:
    """Seconds of a step, and of every unit in it beside that: noise and optimizer cost the same for any batch."""

    step: float
    unit: float

    def of(self, *, steps: float, units: float) -> float:
        """Seconds of so many steps with so many units in all."""
        return steps * self.step + units * self.unit


class DiffusionEffort:
    """See Effort. `shape` is that of an image; about `n` are there to train on, and `n_public` public ones."""

    def __init__(self, shape: Shape, n: float, n_public: float) -> None:
        self.shape, self.n, self.n_public = shape, n, n_public
        self._speed: dict[str, StepSeconds] = {}  # by stage, and by model size where that decides

    def measure(self, configs: Sequence[DiffusionConfig], tell: Tell) -> None:
        """Time what these configurations need; `tell` is told how much of it is done."""
        sized = {config.model.size: config for config in configs}
        pools = [config for config in configs if any(s.kind == "pool" for s in config.member.declaration.stages)]
        total = 3 * len(sized) + 1 + len(pools[:1])
        for size, config in sized.items():
            make = {"pretrained": self._pretrain, "generator": self._private, "samples": self._sample}
            for kind, time_it in make.items():
                self._speed[f"{kind} {size}"] = time_it(config)
                tell(len(self._speed), total)
        self._speed["query-function"] = query_seconds(self.shape, configs[0].query)
        tell(total - len(pools[:1]), total)
        for config in pools[:1]:
            each = seen_seconds(config.means.seen_by(self.shape[0]), self.shape, config.query)
            self._speed["pool"] = StepSeconds(step=0.0, unit=each)
            tell(total, total)

    def seconds(self, kind: str, config: DiffusionConfig) -> float:
        """Of computing that stage once; 0 if it takes next to nothing."""
        if kind == "query-function":
            return training_seconds(self._speed[kind], config.query)
        if kind == "pool":
            views = config.pool.views * self.n_public
            return self._speed[kind].of(steps=views / BLOCK, units=views)
        if kind == "tilted":
            return tilt_seconds(config.pool.views * self.n_public)
        cost = self._speed.get(f"{kind} {config.model.size}")
        if cost is None:
            return 0.0
        match kind:
            case "pretrained":
                pre = config.pretrain
                return cost.of(steps=pre.images / pre.batch, units=pre.images)
            case "generator":
                tune = config.finetune
                return cost.of(steps=tune.steps, units=tune.steps * tune.q * self.n * tune.K)
            case _:
                calls, n = calls_of(config), config.samples + (FIT_IMAGES if in_steps(config) else 0)
                return cost.of(steps=calls * n / config.sample.batch, units=calls * n)

    def bytes(self, kind: str, whole: DiffusionConfig) -> float:
        """Of what that stage leaves in the store."""
        if kind == "samples":
            return whole.samples * (math.prod(self.shape) + 8)
        if kind == "pool":
            return 4 * sum(MOST_DIRECTIONS) * whole.pool.views * self.n_public
        weights = 4 * sum(p.numel() for p in self._generator(whole).learned.parameters())
        return {"pretrained": weights, "generator": weights, "model": 2 * weights}.get(kind, 0)

    def _generator(self, whole: DiffusionConfig) -> Generator:
        return sizes.build(whole.model.size, shape=self.shape, n_classes=LABELS, seed=0)

    def _pretrain(self, whole: DiffusionConfig) -> StepSeconds:
        y, generator = np.arange(64) % LABELS, self._generator(whole)
        pool = Images(x=pictures(self.shape, 64), y=y)

        def steps(n: int, batch: int) -> float:
            config = whole.pretrain.model_copy(update={"images": n * batch, "batch": batch})
            return clock(lambda: pretrain(
                generator, pool.rows, y, weights=None, config=config, seed=0, workers=Workers.alone(), progress=silent
            ))  # fmt: skip

        return _cost(steps, most=whole.pretrain.batch, every=whole.pretrain.follow.every)

    def _private(self, whole: DiffusionConfig) -> StepSeconds:
        """Of one draw of one example, by the engine, the noise included."""
        q_n, K = max(1, round(whole.finetune.q * self.n)), whole.finetune.K

        def steps(n: int, batch: int) -> float:
            sensitive = random_set(pictures(self.shape, batch), "train")
            event = Event(purpose="dp-sgd", sigma=1.0, steps=n, split="train")
            return clock(lambda: fine_tune(
                self._generator(whole), sensitive, config=whole.finetune, event=event, entropy=Entropy.fresh(),
                workers=Workers.alone(),
            ))  # fmt: skip

        cost = _cost(steps, most=min(q_n, whole.finetune.physical_batch), every=whole.finetune.follow.every)
        return StepSeconds(step=cost.step, unit=cost.unit / K)

    def _sample(self, whole: DiffusionConfig) -> StepSeconds:
        """Of one call of the network on one image, guidance apart."""
        config = whole.sample.model_copy(update={"guidance": 0.0, "start": "noise"})
        generator, once = self._generator(whole), not in_steps(whole)

        def steps(n: int, batch: int) -> float:
            drawn, few = (n * batch, config) if once else (batch, config.model_copy(update={"steps": 1 + n}))
            return clock(lambda: draw_images(generator, n=drawn, config=few, seed=0, device=CPU))

        cost = _cost(steps, most=min(whole.samples, config.batch))
        return replace(cost, unit=cost.unit / config.candidates) if once else cost


def in_steps(config: DiffusionConfig) -> bool:
    """Whether its images are drawn by the steps of a sampler, rather than by one call for every candidate."""
    return config.member.declaration.uses("sample.steps")


def calls_of(config: DiffusionConfig) -> int:
    """How often the network sees an image while it is drawn."""
    if not in_steps(config):
        return config.sample.candidates
    return config.sample.steps * (2 if config.sample.guidance else 1)


def untrained(shape: Shape, query: QueryConfig) -> QueryFunction:
    """A query function that takes as long as the trained one. The weights of a file are of a published network."""
    function = query.function
    published = function.weights is not None
    net = query_network(function.network, channels=shape[0], n_classes=CLASSES, published=published)
    return QueryFunction(net=net.eval(), n_classes=CLASSES)


def seen_seconds(network: SeenBy, shape: Shape, query: QueryConfig) -> float:
    """Of one image that a network looks at, in blocks that are always full."""
    function = untrained(shape, query) if network == "query" else None
    see = extractor(function, device=CPU)
    x = pictures(shape, BLOCK if function is not None and query.function.network == "cnn" else FEW)
    see(x)  # the first call loads what it needs
    return clock(lambda: see(x)) / len(x)


def query_seconds(shape: Shape, query: QueryConfig) -> StepSeconds:
    """What a step of training the query function costs, and an image in it."""
    if query.function.weights is not None:
        return StepSeconds(step=0.0, unit=0.0)
    x, y = pictures(shape, 64), np.arange(64) % CLASSES
    public = PublicSet(x=x, y=y, name="random", classes=tuple(map(str, range(CLASSES))))

    def steps(n: int, batch: int) -> float:
        config = query.function.model_copy(update={"steps": n, "batch": batch})
        return clock(lambda: train_query_function(
            public, config=config, seed=0, workers=Workers.alone(), progress=silent
        ))  # fmt: skip

    return _cost(steps, most=query.function.batch)


def training_seconds(cost: StepSeconds, query: QueryConfig) -> float:
    """Of training the query function, of which a step costs that."""
    return cost.of(steps=query.function.steps, units=query.function.steps * query.function.batch)


def tilt_seconds(n: float) -> float:
    """Of choosing among n images for all labels: about so many looks at all of them, and at the nearest, of a label."""
    d = sum(MOST_DIRECTIONS)
    phi = np.random.default_rng(0).standard_normal((tilt.FEW // 10, d), dtype=np.float32)
    each = clock(lambda: [(phi @ phi[0]) @ phi for _ in range(50)]) / 50 * 10  # of one look at FEW images
    return LABELS * tilt.ITERATIONS * each * (n / tilt.FEW / 4 + len(tilt.RIDGES) / 2)


def pictures(shape: Shape, n: int) -> np.ndarray:
    """Random images uint8 [n, C, H, W], each time the same: they take as long as real ones."""
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def random_set(x: np.ndarray, split: Part) -> PrivateSet:
    """These images as a split of a sensitive set, with all labels."""
    classes, y = tuple(map(str, range(LABELS))), np.arange(len(x)) % LABELS
    return PrivateSet(x=x, y=y, name="random", id="random", classes=classes, split=split)


def _cost(steps: Callable[[int, int], float], *, most: int, every: int = 1) -> StepSeconds:
    """What a step costs, by two batches: the larger one as large as keeps this short. Where something is done after
    `every` steps, so many are looked at that it is done."""
    n = max(2, min(every, EVERY))

    def step(batch: int) -> float:
        return (steps(1 + n, batch) - steps(1, batch)) / n

    small, least = min(8, most), step(min(8, most))
    large = min(most, 256 if least < 0.02 else 64 if least < 0.1 else 16)
    unit = max(0.0, (step(large) - least) / (large - small)) if large > small else least / small
    return StepSeconds(step=max(0.0, least - unit * small), unit=unit)


def clock(work: Callable[[], object]) -> float:
    """Seconds that a quiet machine would take: of the processor, whatever else runs on it."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / torch.get_num_threads()
