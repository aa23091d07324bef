"""How long a sweep takes here and what it needs: each stage is timed on random images, times how often it is computed.

Nothing is read: sizes of data are those that its name tells. Random images take as long as real ones.
"""

from __future__ import annotations

import math
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from privimage import metrics, semantics
from privimage.cluster.resources import trials_at_once
from privimage.data import HeldOutConfig
from privimage.data.sets import PARTS, Part, PrivateSet, PublicSet
from privimage.dpsgd.finetune import fine_tune
from privimage.errors import InputError
from privimage.generators import sizes
from privimage.generators.generator import FIT_IMAGES, Generator
from privimage.generators.pretrain import pretrain
from privimage.generators.sampler import draw_images
from privimage.generators.sizes import Shape
from privimage.methods.privimage import MethodConfig
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Seen
from privimage.sweeps import count
from privimage.sweeps.plan import Plan
from privimage.sweeps.sweep import Sweep
from privimage.workers import Workers

Tell = Callable[[int, int], None]
LABELS, CLASSES, SAMPLED, FEW = 10, 1000, 40, 300
CPU = torch.device("cpu")
KINDS = ("query-function", "pretrained", "generator", "samples")  # what takes time
SPREAD = (0.5, 1.3)  # of the estimate: small batches are timed, which cost a little more; other programs, start-up


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """About how many `seconds` a sweep takes with `at_once` trials, `mib` of memory in all, `disk` MiB in the store."""

    seconds: float
    at_once: int
    mib: float
    disk: float
    dearest: str  # the stage that takes most of the time

    def sentence(self) -> str:
        """What `plan` says."""
        low, high = (_time(self.seconds * factor) for factor in SPREAD)
        trials = "1 trial" if self.at_once == 1 else f"{self.at_once} trials"
        return (
            f"Here, with {trials} at a time: about {low} to {high}, most of it {self.dearest}; about "
            f"{self.mib / 1024:.1f} GiB of memory and {max(1, round(self.disk))} MiB of disk"
        )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(plan: Plan, *, tell: Tell) -> Estimate | str:
    """The estimate of a plan by a few steps of every stage at every model size; or why there is none, in one line."""
    sweep = plan.sweep
    data = sweep.data.sensitive
    if isinstance(data, HeldOutConfig) or data.n_train is None or data.shape is None:
        return "Not estimated: how many images the sensitive set holds is not known without reading it"
    if sweep.resources.gpu:
        return "Not estimated: the sweep asks for a GPU, and this is timed on the CPU"
    try:
        at_once = trials_at_once(sweep.resources, [{"CPU": float(os.cpu_count() or 1)}])
    except InputError:
        return "Not estimated: this machine does not have the resources of one trial"
    elsewhere = data.validation + (0.0 if data.has_test else data.test)
    work = _Work(sweep=sweep, shape=data.shape, n=data.n_train * (1 - elsewhere))
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(sweep.resources.cpu)))
    try:
        seconds, disk = work.total(plan, tell)
    finally:
        torch.set_num_threads(threads)
    memory = at_once * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Estimate(
        seconds=sum(seconds.values()) / at_once / sweep.resources.workers,
        at_once=at_once,
        mib=memory * sweep.resources.workers,
        disk=disk / 2**20,
        dearest=max(seconds, key=seconds.__getitem__),
    )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of a step, and of every unit in it beside that: noise and optimizer cost the same for any batch."""

    step: float
    unit: float

    def of(self, *, steps: float, units: float) -> float:
        """Seconds of so many steps with so many units in all."""
        return steps * self.step + units * self.unit


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The sweep, the shape of an image, and about how many there are to train on."""

    sweep: Sweep
    shape: Shape
    n: float

    def total(self, plan: Plan, tell: Tell) -> tuple[dict[str, float], float]:
        """Seconds of one process by stage, and bytes of the store, for the search and all rows."""
        searched = list(self._searched())
        rows = [self.sweep.row_trial(r, s, b, noise=plan.sweep.example(budget=b).noise)
                for r, s, b in self.sweep.rows()]  # fmt: skip
        methods = [*searched, *(trial.method for trial in rows)]
        speed = self._speeds(methods, tell)
        seconds, disk = dict.fromkeys((*KINDS, "metrics"), 0.0), 0.0
        for stage in plan.stages:
            seen = [m for m in searched if m.preset.declaration.upto(stage.stage)]
            if stage.stage in KINDS and seen:
                seconds[stage.stage] += stage.computed * statistics.fmean(
                    self._seconds(stage.stage, m, speed) for m in seen
                )
            disk += stage.computed * (statistics.fmean(self._bytes(stage.stage, m) for m in seen) if seen else 0)
        done: set[object] = set()
        for trial in rows:
            for kind in KINDS:
                key = (
                    count.settings(trial.method, kind),
                    trial.seed,
                    trial.budget if kind in ("generator", "samples") else None,
                )
                if not key[0][0] or key in done or count.holds(self.sweep, kind, trial.method):
                    continue
                done.add(key)
                seconds[kind] += self._seconds(kind, trial.method, speed)
                disk += self._bytes(kind, trial.method)
        trials = max((stage.needed for stage in plan.stages), default=0) + len(rows)
        seconds["metrics"] += trials * speed["metrics"].step
        return seconds, disk

    def _searched(self) -> Iterator[MethodConfig]:
        """Configurations from all over the search: every field at one of its values or ends."""
        rng, budget = random.Random(0), self.sweep.budgets[0]
        for _ in range(SAMPLED if self.sweep.search and self.sweep.trials else min(1, self.sweep.trials)):
            point = {dotted: rng.choice(dimension.corners()) for dotted, dimension in self.sweep.search.items()}
            yield self.sweep.example(budget=budget, overrides=point).method

    def _speeds(self, methods: list[MethodConfig], tell: Tell) -> dict[str, Cost]:
        """What the stages cost, those of a generator by its size, and all metrics of a trial."""
        sizes = {m.model.size: m for m in methods if m.preset.generates}
        total, speed = 3 * len(sizes) + 2, dict[str, Cost]()
        for size, method in sizes.items():
            make = {"pretrained": self._pretrain, "generator": self._private, "samples": self._sample}
            for kind, measure in make.items():
                speed[f"{kind} {size}"] = measure(method)
                tell(len(speed), total)
        if sizes:
            speed["query-function"] = self._query(next(iter(sizes.values())))
        tell(total - 1, total)
        speed["metrics"] = Cost(step=self._metrics(methods[0]) if methods else 0.0, unit=0)
        tell(total, total)
        return speed

    def _seconds(self, kind: str, method: MethodConfig, speed: dict[str, Cost]) -> float:
        """Of computing one stage once."""
        if kind == "query-function":
            function = method.query.function
            return speed[kind].of(steps=function.steps, units=function.steps * function.batch)
        cost = speed[f"{kind} {method.model.size}"]
        match kind:
            case "pretrained":
                config = method.pretrain
                return cost.of(steps=config.images / config.batch, units=config.images)
            case "generator":
                tune = method.finetune
                return cost.of(steps=tune.steps, units=tune.steps * tune.q * self.n * tune.K)
            case _:
                calls = method.sample.steps * (2 if method.sample.guidance else 1)
                n = method.samples + FIT_IMAGES
                return cost.of(steps=calls * n / method.sample.batch, units=calls * n)

    def _bytes(self, kind: str, method: MethodConfig) -> float:
        if kind == "samples":
            return method.samples * (math.prod(self.shape) + 8)
        weights = 4 * sum(p.numel() for p in self._generator(method).F.parameters())
        return {"pretrained": weights, "generator": weights, "model": 2 * weights}.get(kind, 0)

    def _generator(self, method: MethodConfig) -> Generator:
        return sizes.build(method.model.size, shape=self.shape, n_classes=LABELS, seed=0)

    def _pictures(self, n: int) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (n, *self.shape), dtype=np.uint8)

    def _pretrain(self, method: MethodConfig) -> Cost:
        x, y, generator = self._pictures(64), np.arange(64) % LABELS, self._generator(method)

        def steps(n: int, batch: int) -> float:
            config = method.pretrain.model_copy(update={"images": n * batch, "batch": batch})
            return _clock(lambda: pretrain(
                generator, x, y, weights=None, config=config, seed=0, workers=Workers.alone(), progress=_silent
            ))  # fmt: skip

        return _cost(steps, most=method.pretrain.batch)

    def _private(self, method: MethodConfig) -> Cost:
        """Of one draw of one example, by the engine, the noise included."""
        q_n, K = max(1, round(method.finetune.q * self.n)), method.finetune.K

        def steps(n: int, batch: int) -> float:
            sensitive, event = (
                self._sensitive(batch, "train"),
                Event(purpose="dp-sgd", sigma=1.0, steps=n, split="train"),
            )
            return _clock(lambda: fine_tune(
                self._generator(method), sensitive, config=method.finetune, event=event, entropy=Entropy.fresh(),
                workers=Workers.alone(),
            ))  # fmt: skip

        cost = _cost(steps, most=min(q_n, method.finetune.physical_batch))
        return Cost(step=cost.step, unit=cost.unit / K)

    def _sensitive(self, n: int, split: Part) -> PrivateSet:
        """Random images in the shape of the sensitive ones."""
        classes, x, y = tuple(map(str, range(LABELS))), self._pictures(n), np.arange(n) % LABELS
        x[:, :, 0, 0] = len(split)  # so that two splits differ
        return PrivateSet(x=x, y=y, name="random", id="random", classes=classes, split=split)

    def _sample(self, method: MethodConfig) -> Cost:
        config = method.sample.model_copy(update={"guidance": 0.0})
        generator = self._generator(method)

        def steps(n: int, batch: int) -> float:
            few = config.model_copy(update={"steps": 1 + n})
            return _clock(lambda: draw_images(generator, n=batch, config=few, seed=0, device=CPU))

        return _cost(steps, most=min(method.samples, config.batch))

    def _query(self, method: MethodConfig) -> Cost:
        x, y = self._pictures(64), np.arange(64) % CLASSES
        public = PublicSet(x=x, y=y, name="random", classes=tuple(map(str, range(CLASSES))))

        def steps(n: int, batch: int) -> float:
            config = method.query.function.model_copy(update={"steps": n, "batch": batch})
            return _clock(lambda: semantics.train_query_function(
                public, config=config, seed=0, device=CPU, progress=_silent
            ))  # fmt: skip

        return _cost(steps, most=method.query.function.batch)

    def _metrics(self, method: MethodConfig) -> float:
        """Seconds of all metrics of one trial: those that go by images are timed on few."""
        train, validation, test = (self._sensitive(FEW, part) for part in PARTS)
        total = 0.0
        for name in (name for name in self.sweep.measured if not metrics.is_private(name)):
            family, variant = metrics.family_of(name)
            context = metrics.Context(
                x=self._pictures(FEW), y=test.y, splits={"train": train, "validation": validation, "test": test},
                weights=self.sweep.features.weights,
            )  # fmt: skip
            seconds = _clock(lambda name=name, context=context: metrics.evaluate(
                [name], context, look=lambda name, split: Seen(split=split)  # random images: nothing to write down
            ))  # type: ignore[misc]  # fmt: skip
            total += seconds * (1 if family.steady(variant) else max(1.0, method.samples / FEW))
        return total


def _cost(steps: Callable[[int, int], float], *, most: int) -> Cost:
    """What a step costs, by two batches: the larger one as large as keeps this short."""

    def step(batch: int) -> float:
        return (steps(3, batch) - steps(1, batch)) / 2

    small, least = min(8, most), step(min(8, most))
    large = min(most, 256 if least < 0.02 else 64 if least < 0.1 else 16)
    unit = max(0.0, (step(large) - least) / (large - small)) if large > small else least / small
    return Cost(step=max(0.0, least - unit * small), unit=unit)


def _clock(work: Callable[[], object]) -> float:
    """Seconds that a quiet machine would take: of the processor, whatever else runs on it."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / torch.get_num_threads()


def _silent(done: int, total: int) -> None:
    """Nothing."""
