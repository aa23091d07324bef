"""Pre-training of a generator on public images: plain training by its loss, with an average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.checkpoint import NO_CHECKPOINT, Checkpoint, Stateful
from privimage.device import tf32
from privimage.generators.config import PretrainConfig
from privimage.generators.descent import Descent
from privimage.generators.feed import feed
from privimage.generators.generator import CODEC, FIT_IMAGES, Generator
from privimage.progress import Tell
from privimage.workers import Workers

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Seeded:
    """Random numbers of a seeded generator of torch: for public training, where everybody may know them.

    Uniform ones are on the CPU; normals, of which there are many, are drawn on `device`.
    """

    generator: torch.Generator
    device: torch.device = CPU

    def uniforms(self, *shape: int) -> Tensor:
        """float64 in [0, 1)."""
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def normals(self, *shape: int) -> Tensor:
        """float32 standard normals."""
        if self.device == CPU:
            return torch.randn(shape, generator=self.generator)
        seed = int(torch.randint(2**62, (1,), generator=self.generator))  # so a checkpoint keeps that one alone
        return torch.randn(shape, generator=torch.Generator(self.device).manual_seed(seed), device=self.device)


def pretrain(
    generator: Generator,
    rows: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    y: NDArray[np.int64],
    *,
    weights: NDArray[np.float64] | None,
    config: PretrainConfig,
    seed: int,
    workers: Workers,
    progress: Tell,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> dict[str, Tensor]:
    """What `Generator.load_pretrained` takes: the averaged weights after `config.images` images drawn with
    probabilities `weights`, and the codec, which is adapted to FIT_IMAGES of them first.

    `rows` gives public images of the places that are asked for, `y` are the labels of all of them, n_classes for "no
    label". Every worker takes a share of each batch. A killed call goes on from `checkpoint`.
    """
    learned, F, device = generator.to(workers.device).learned.train(), generator.F, workers.device
    generator.codec.adapt(rows(np.random.default_rng((seed, 12)).choice(len(y), size=FIT_IMAGES, p=weights)))
    order, rng, labels = np.random.default_rng((seed, 1)), torch.Generator().manual_seed(seed), torch.from_numpy(y)
    adam = torch.optim.Adam(F.parameters(), lr=config.lr, betas=(generator.momentum, 0.99), fused=True)
    follower = generator.follower(config.follow, labels=labels.unique().tolist())
    average, drawn = copy.deepcopy(learned), _draws(len(y), weights)
    parts: dict[str, Stateful] = dict(F=F, adam=adam, average=average, order=order, rng=rng, **follower.parts)
    descent, steps = Descent(F, adam, loss=generator.loss(config.training), workers=workers), config.steps
    source = feed(rows, n=len(y), shape=generator.shape, seen=config.images, device=device)
    with tf32(config.precision == "tf32"), source as images:
        for step in range(checkpoint.restore(parts), steps):
            index, rate = drawn(order, config.batch), _schedule(step, steps)
            x = images(index, following=lambda: drawn(copy.deepcopy(order), config.batch))
            batch = generator.batch(
                generator.codec.encode(x), labels[index], training=config.training, rng=Seeded(rng, device)
            )
            descent.step(batch, lr=config.lr * rate)
            follower.after(step, rng=Seeded(rng, device), rate=rate, workers=workers)
            move_average(average, learned, step=step, decay=config.ema)
            checkpoint.save(step + 1, parts)
            progress(step + 1, steps)
    return _found(average, generator.codec)


def _draws(n: int, weights: NDArray[np.float64] | None) -> Callable[[np.random.Generator, int], NDArray[np.int64]]:
    """What `Generator.choice(n, size, p=weights)` draws, to the bit; the sums that it makes of n weights are kept."""
    if weights is None:
        return lambda order, size: order.choice(n, size=size)
    sums = np.cumsum(weights, dtype=np.float64)
    sums /= sums[-1]
    return lambda order, size: sums.searchsorted(order.random(size), side="right")


def _found(average: nn.Module, codec: nn.Module) -> dict[str, Tensor]:
    """The weights, and the codec under names of its own."""
    found = average.state_dict() | {CODEC + name: value for name, value in codec.state_dict().items()}
    return {name: tensor.detach().cpu() for name, tensor in found.items()}


@torch.no_grad()
def move_average(average: nn.Module, learned: nn.Module, *, step: int, decay: float) -> None:
    """Move the average towards the weights after that step, the first being 0: sooner than `decay` says at first."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(learned.parameters()), 1 - decay)


def _schedule(step: int, steps: int) -> float:
    """Warm-up over 50 steps, constant, then linear to 2% over the last 40%."""
    return min(1.0, (step + 1) / 50) * min(1.0, 2.5 * (1 - step / steps) + 0.02)
