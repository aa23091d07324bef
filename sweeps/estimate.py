"""How long a sweep takes here and what it needs: each stage is timed on random images, times how often it is computed.

Nothing is read: sizes of data are those that its name tells. Random images take as long as real ones.
"""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from privimage import metrics
from privimage.cluster.resources import RAY_MEMORY, SHARES, side_by_side
from privimage.data import HeldOutConfig
from privimage.data.sets import PARTS, Part, PrivateSet
from privimage.errors import InputError
from privimage.generators import Shape
from privimage.methods.declared import fields_of
from privimage.methods.effort import clock, pictures, random_set
from privimage.methods.method import Method, MethodConfig
from privimage.methods.timing import Effort
from privimage.privacy.looks import Seen
from privimage.privacy.noise import Noise
from privimage.progress import Tell
from privimage.stages import peak_resident_mib
from privimage.sweeps import count
from privimage.sweeps.plan import Plan
from privimage.sweeps.sweep import Sweep
from privimage.text import count as count_of
from privimage.text import duration
from privimage.trial import Trial

SAMPLED, FEW, TICKS = 40, 300, 100
N_PUBLIC = 50_000  # public images of a set whose number its name does not tell
SPREAD = (0.5, 1.3)  # of the estimate: small batches are timed, which cost a little more; other programs, start-up


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """About how many `seconds` a sweep takes with `at_once` trials, `mib` of memory in all, `disk` MiB in the store."""

    seconds: float
    at_once: int
    mib: float
    disk: float
    dearest: str  # the stage that takes most of the time

    @property
    def between(self) -> tuple[float, float]:
        """The seconds that it takes at least and at most, about."""
        low, high = SPREAD
        return self.seconds * low, self.seconds * high

    def sentence(self) -> str:
        """What `plan` says."""
        low, high = map(duration, self.between)
        trials = count_of(self.at_once, "trial")
        return (
            f"Here, with {trials} at a time: about {low} to {high}, most of it {self.dearest}; about "
            f"{self.mib / 1024:.1f} GiB of memory and {max(1, round(self.disk))} MiB of disk"
        )


def estimate(plan: Plan, *, tell: Tell) -> Estimate | str:
    """The estimate of a plan by a few steps of every stage at every model size; or why there is none, in one line."""
    sweep = plan.sweep
    data = sweep.data.sensitive
    if isinstance(data, HeldOutConfig) or data.n_train is None or data.shape is None:
        return "Not estimated: how many images the sensitive set holds is not known without reading it"
    if any(sweep.resources.share(name).gpu for name in SHARES):
        return "Not estimated: the sweep asks for a GPU, and this is timed on the CPU"
    try:
        at_once = side_by_side(sweep.resources, [_this_machine()])
    except InputError:
        return "Not estimated: this machine does not have the resources of one trial"
    elsewhere = data.validation + (0.0 if data.has_test else data.test)
    timing = _Timing(sweep=sweep, shape=data.shape, n=data.n_train * (1 - elsewhere))
    threads = torch.get_num_threads()
    share = sweep.resources.share("finetune")
    torch.set_num_threads(max(1, int(share.cpu)))
    try:
        seconds, disk = timing.total(plan, tell)
        tell(TICKS, TICKS)
    except InputError as error:
        return f"Not estimated: {error}"
    finally:
        torch.set_num_threads(threads)
    memory = at_once * peak_resident_mib()
    return Estimate(
        seconds=sum(seconds.values()) / at_once / share.workers,
        at_once=at_once,
        mib=memory * share.workers,
        disk=disk / 2**20,
        dearest=max(seconds, key=seconds.__getitem__),
    )


def _this_machine() -> dict[str, float]:
    """What Ray would count here: of the memory it takes a part for objects."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"CPU": float(os.cpu_count() or 1), "memory": RAY_MEMORY * memory}


def _tell(tell: Tell, number: int, of: int, done: int, total: int) -> None:
    """How far it is as a share of TICKS, the last of which is for metrics."""
    tell(int((TICKS - 1) * (number + done / total) / of), TICKS)


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """What is timed: the stages of a sweep on images of a shape, about `n` of them to train on."""

    sweep: Sweep
    shape: Shape
    n: float

    def total(self, plan: Plan, tell: Tell) -> tuple[dict[str, float], float]:
        """Seconds of one process by stage, and bytes of the store, for the search and all rows.

        Raises InputError if a method does not say how long it takes.
        """
        searched = list(self._searched())
        rows = [self.sweep.row_trial(r, s, b, noise=Noise()) for r, s, b in self.sweep.rows()]
        configs = [*searched, *(trial.method for trial in rows)]
        of = self._measured([config for config in configs if config.member.generates], tell)
        seconds, disk = dict[str, float](), 0.0
        for stage in plan.stages:
            seen = [(of[type(m.member)], m) for m in searched if m.member.declaration.upto(stage.stage)]
            if seen:
                each = statistics.fmean(effort.seconds(stage.stage, m) for effort, m in seen)
                seconds[stage.stage] = seconds.get(stage.stage, 0.0) + stage.computed * each
                disk += stage.computed * statistics.fmean(effort.bytes(stage.stage, m) for effort, m in seen)
        for kind, config in self._alone(rows):
            effort = of[type(config.member)]
            seconds[kind] = seconds.get(kind, 0.0) + effort.seconds(kind, config)
            disk += effort.bytes(kind, config)
        trials = max((stage.needed for stage in plan.stages), default=0) + len(rows)
        seconds["metrics"] = trials * (self._metrics(configs[0]) if configs else 0.0)
        return seconds, disk

    def _measured(self, configs: list[MethodConfig], tell: Tell) -> dict[type[Method], Effort]:
        """What the methods say that they take, of one family the same."""
        found: dict[type[Method], Effort] = {}
        families = list(dict.fromkeys(type(config.member) for config in configs))
        for number, family in enumerate(families):
            mine = [config for config in configs if type(config.member) is family]
            effort = mine[0].member.effort(self.shape, self.n, self.sweep.data.public.n_train or N_PUBLIC)
            if effort is None:
                raise InputError(f"{mine[0].name} does not say how long its stages take")
            effort.measure(mine, partial(_tell, tell, number, len(families)))
            found[family] = effort
        return found

    def _alone(self, rows: list[Trial]) -> Iterator[tuple[str, MethodConfig]]:
        """The stages of comparison rows that neither the search nor an earlier row has made."""
        done: set[object] = set()
        for trial in rows:
            declaration = trial.method.member.declaration
            for kind in (stage.kind for stage in declaration.stages) if trial.method.member.generates else ():
                budget = trial.budget if declaration.budgeted(kind, fields_of(trial.method)) else None
                key = (count.settings(trial.method, kind), trial.seed, budget)
                if key not in done and not count.holds(self.sweep, kind, trial.method):
                    done.add(key)
                    yield kind, trial.method

    def _searched(self) -> Iterator[MethodConfig]:
        """Configurations from all over the search: every field at one of its values or ends."""
        rng = random.Random(0)
        for _ in range(SAMPLED if self.sweep.search and self.sweep.trials else min(1, self.sweep.trials)):
            point = {dotted: rng.choice(dimension.corners()) for dotted, dimension in self.sweep.search.items()}
            yield self.sweep.configuration(point)

    def _pictures(self) -> np.ndarray:
        return pictures(self.shape, FEW)

    def _sensitive(self, split: Part) -> PrivateSet:
        """Random images in the shape of the sensitive ones."""
        x = self._pictures()
        x[:, :, 0, 0] = len(split)  # so that two splits differ
        return random_set(x, split)

    def _metrics(self, method: MethodConfig) -> float:
        """Seconds of all metrics of one trial: those that go by images are timed on few."""
        train, validation, test = (self._sensitive(part) for part in PARTS)
        total = 0.0
        for name in (name for name in self.sweep.measured if not metrics.is_private(name)):
            family, variant = metrics.family_of(name)
            context = metrics.MetricContext(
                x=self._pictures(), y=test.y, splits={"train": train, "validation": validation, "test": test},
                weights=self.sweep.features.weights,
            )  # fmt: skip
            seconds = clock(lambda name=name, context=context: metrics.evaluate(
                [name], context, look=lambda name, split: Seen(split=split)  # random images: nothing to write down
            ))  # type: ignore[misc]  # fmt: skip
            total += seconds * (1 if family.steady(variant) else max(1.0, method.samples / FEW))
        return total
