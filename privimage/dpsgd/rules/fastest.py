"""The choice of a convolution kernel for every shape, by timing the candidates on random data.

Never on a private batch: what is timed, and so what is chosen, does not depend on the data. A choice holds for the
process, so every step of a run sums in the same way. Batch sizes are put in buckets: above 8 examples (on a GPU 128)
the work is proportional to their number, and Poisson batches of all sizes share one choice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from privimage.dpsgd.rules.conv2d_kernels import KERNELS, Geometry, gram_norms, weight_gradient
from privimage.dpsgd.rules.rule import BatchPlan, wide, without_tf32

LARGEST = {"cpu": 8, "cuda": 128}  # examples that are timed; with a few a GPU would be timed at launching
ROUNDS = 4
HOPELESS = 1.5  # a candidate that is slower than this many times the best after two rounds is not timed again
AGREEMENT = 1e-3  # largest difference between kernels on random data, over the largest entry
ROUGHLY = 5e-2  # the same where results have less than 32 bits


@dataclass(frozen=True, kw_only=True)
class KernelKey:
    """What a choice depends on: shapes, examples (in buckets), draws, and where it runs."""

    geometry: Geometry
    image: tuple[int, ...]
    examples: int
    K: int
    dtype: torch.dtype
    device: torch.device
    channels_last: bool
    threads: int


@dataclass(frozen=True, kw_only=True)
class KernelChoice:
    """The chosen kernel, and the seconds of every candidate."""

    kernel: str
    seconds: dict[str, float] = field(default_factory=dict)


CHOICES: dict[KernelKey, KernelChoice] = {}


def choose(x: Tensor, gy: Tensor, geometry: Geometry, plan: BatchPlan) -> str:
    """The name of the kernel for this shape: one of `KERNELS`, or "gram". Timed at the first call of a shape."""
    if not plan.timed:
        return "grouped"
    key = KernelKey(
        geometry=geometry,
        image=tuple(x.shape[2:]),
        examples=min(LARGEST.get(x.device.type, LARGEST["cpu"]), 1 << (plan.n.bit_length() - 1)),
        K=plan.K,
        dtype=x.dtype,
        device=x.device,
        channels_last=not x.is_contiguous(),
        threads=torch.get_num_threads(),
    )
    if key not in CHOICES:
        CHOICES[key] = _measure(key, tuple(gy.shape[1:]))
    return CHOICES[key].kernel


def explain() -> list[tuple[KernelKey, KernelChoice]]:
    """Every choice made in this process, the most expensive shape first."""
    return sorted(CHOICES.items(), key=lambda item: -min(item[1].seconds.values(), default=0.0))


def _measure(key: KernelKey, out: tuple[int, ...]) -> KernelChoice:
    """Time every candidate on random data, in turns: what else the machine does hits all alike.

    Raises ValueError if a kernel disagrees with the ordinary gradient.
    """
    rng = torch.Generator().manual_seed(0)
    rows, layout = key.examples * key.K, torch.channels_last if key.channels_last else torch.contiguous_format
    x, gy = (
        torch.randn((rows, *shape), generator=rng).to(key.device, key.dtype).contiguous(memory_format=layout)
        for shape in ((key.geometry.weight[1], *key.image), out)
    )
    runs = _candidates(key, x, gy, out)
    with without_tf32():
        _compare(key, runs, KERNELS["looped"](x, gy, key.geometry, key.examples))
    seconds = dict.fromkeys(runs, float("inf"))
    for turn in range(ROUNDS):
        for name, run in runs.items():
            if turn < 2 or seconds[name] <= HOPELESS * min(seconds.values()):
                seconds[name] = min(seconds[name], _seconds(run, key.device))
    return KernelChoice(kernel=min(seconds, key=lambda name: seconds[name]), seconds=seconds)


def _compare(key: KernelKey, runs: dict[str, Callable[[], Tensor]], expected: Tensor) -> None:
    allowed = (AGREEMENT if key.dtype.itemsize >= 4 else ROUGHLY) * expected.abs().max()
    for name, run in runs.items():
        got = run()
        if got.shape == expected.shape and not bool((got - expected).abs().max() <= allowed):
            raise ValueError(f"engine: kernel {name!r} disagrees with the ordinary gradient at {key}; use 'vmap'")


def _candidates(key: KernelKey, x: Tensor, gy: Tensor, out: tuple[int, ...]) -> dict[str, Callable[[], Tensor]]:
    names = ["grouped", "columns", "looped"]
    if key.geometry.stride == (1, 1) and not key.geometry.pointwise:
        names.append("shifted")
    runs: dict[str, Callable[[], Tensor]] = {
        name: partial(KERNELS[name], x, gy, key.geometry, key.examples) for name in names
    }
    outputs, window = key.geometry.weight[0], math.prod(key.geometry.weight[1:])
    if key.K * out[1] * out[2] * (outputs + window) <= outputs * window:  # else it takes more operations
        runs["gram"] = partial(_gram, x, gy, key)
    return runs


def _gram(x: Tensor, gy: Tensor, key: KernelKey) -> Tensor:
    """The norms, and the second pass that they need."""
    norms = gram_norms(x, gy, key.geometry, key.examples)
    x, gy = (t.to(wide(key.dtype)) for t in (x, gy))
    weight_gradient(x, gy * norms.to(gy.dtype).repeat(key.K).view(-1, 1, 1, 1), key.geometry)
    return norms


def _seconds(run: Callable[[], Tensor], device: torch.device) -> float:
    """Of one thread, those that it ran: what else a shared core did meanwhile does not count. Of several, all."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    _wait(device)
    start = clock()
    run()
    _wait(device)
    return clock() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
