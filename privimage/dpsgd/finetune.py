"""DP-SGD fine-tuning of a generator on the sensitive images (PrivImage, Algorithm 2): one private release.

    for T steps:  B ~ Poisson(q)
                  g_i = grad of the mean of K EDM losses of example i,   i in B
                  G   = sum_i min(1, C / |g_i|) g_i + N(0, (sigma C)^2 I)
                  theta <- Adam(theta, G / (q n))

Opacus's optimizer adds the noise, divides by the expected batch and steps; the sum comes from an engine of ours.
Every worker draws the same batches and the same noise, and sums its share of the clipped gradients.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from opacus.optimizers import DPOptimizerFastGradientClipping
from pydantic import Field
from torch import Tensor, nn

from privimage.budget import Event, Release
from privimage.data.sets import PrivateSet
from privimage.dpsgd.draws import draw
from privimage.dpsgd.engine import EngineName, choose
from privimage.dpsgd.poisson import poisson_batches
from privimage.entropy import generator as generator_of
from privimage.networks import Generator
from privimage.schema import Frozen
from privimage.workers import Workers

Progress = Callable[[int, int], None]  # (steps done, steps in all)
NO_CLIP = 1e12  # the clip of a run without noise: large enough never to bind, finite so that 0 * C is 0


class FinetuneConfig(Frozen):
    """How the generator is fine-tuned; the noise multiplier is not here, it follows from the budget."""

    q: float = Field(default=0.5, gt=0, le=1)
    steps: int = Field(default=50, ge=1)
    C: float = Field(default=0.5, gt=0)
    K: int = Field(default=1, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    final_lr: float = Field(default=0.1, gt=0, le=1)  # the learning rate falls linearly to this share of it
    ema: float = Field(default=0.9, ge=0, lt=1)
    label_dropout: float = Field(default=0.1, ge=0, le=1)
    engine: EngineName = "auto"
    physical_batch: int = Field(default=512, ge=1)  # examples in memory at once; changes no result but rounding


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """The averaged weights of F after fine-tuning."""

    state: dict[str, Tensor]


def fine_tune(
    generator: Generator,
    sensitive: PrivateSet,
    *,
    config: FinetuneConfig,
    event: Event,
    entropy: int,
    seed: int,
    workers: Workers,
    progress: Progress = lambda done, total: None,
) -> Release[FineTuned]:
    """The fine-tuned weights and the event they cost. `entropy` seeds batches and noise; `seed` the K draws.

    `event.sigma` 0 means neither noise nor clipping: the release is then marked as not private.
    """
    F, device = generator.F.to(workers.device), workers.device
    F.train()
    C = config.C if event.private else NO_CLIP
    optimizer = _optimizer(F, config, event, C=C, n=len(sensitive), noise=generator_of(entropy, "noise", device))
    batches = poisson_batches(
        n=len(sensitive), q=event.q, steps=event.steps, generator=generator_of(entropy, "batches")
    )
    average = copy.deepcopy(F)
    for step, batch in enumerate(batches):
        _set_lr(optimizer, config, step / event.steps)
        optimizer.zero_grad(set_to_none=True)
        _add_clipped_sums(generator, sensitive, batch, config=config, C=C, seed=(seed, step), workers=workers)
        optimizer.step()
        _average(average, F, min(config.ema, (1 + step) / (10 + step)))
        progress(step + 1, event.steps)
    state = {name: tensor.detach().cpu() for name, tensor in average.state_dict().items()}
    return Release(value=FineTuned(state=state), events=(event,))


def _optimizer(
    F: nn.Module, config: FinetuneConfig, event: Event, *, C: float, n: int, noise: torch.Generator
) -> DPOptimizerFastGradientClipping:
    """Opacus's: noise of std sigma*C on the sum in p.grad, division by the expected batch, then an Adam step."""
    adam = torch.optim.Adam([p for p in F.parameters() if p.requires_grad], lr=config.lr, betas=(0.9, 0.99))
    return DPOptimizerFastGradientClipping(
        adam,
        noise_multiplier=event.sigma,
        max_grad_norm=C,
        expected_batch_size=event.q * n,
        loss_reduction="mean",
        generator=noise,
    )


def _set_lr(optimizer: DPOptimizerFastGradientClipping, config: FinetuneConfig, done: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = config.lr * (1 - (1 - config.final_lr) * done)


def _add_clipped_sums(
    generator: Generator,
    sensitive: PrivateSet,
    batch: Tensor,
    *,
    config: FinetuneConfig,
    C: float,
    seed: tuple[int, int],
    workers: Workers,
) -> None:
    """Leave in every p.grad the sum of clipped gradients of the logical batch, over all workers.

    Physical batch c of a step goes to worker c mod size and draws from a generator of its own, so the draws do not
    depend on the number of workers. An empty batch leaves zeros: it still takes its noise step.
    """
    F, device = generator.F, workers.device
    for p in F.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p)
    engine = choose(config.engine, F)
    for c, part in enumerate(batch.split(config.physical_batch)):
        if c % workers.size != workers.rank or len(part) == 0:
            continue
        rng = torch.Generator().manual_seed(int(np.random.SeedSequence((*seed, c)).generate_state(1)[0]))
        index = part.numpy()
        z = generator.codec.encode(torch.from_numpy(sensitive.x[index]).to(device))
        draws = draw(
            z,
            torch.from_numpy(sensitive.y[index]),
            K=config.K,
            edm=generator.edm,
            null=generator.null,
            label_dropout=config.label_dropout,
            generator=rng,
        )
        engine(F, draws, edm=generator.edm, C=C)
    workers.all_reduce([p.grad for p in F.parameters() if p.grad is not None])


@torch.no_grad()
def _average(average: nn.Module, F: nn.Module, decay: float) -> None:
    assert math.isfinite(decay)
    torch._foreach_lerp_(list(average.parameters()), list(F.parameters()), 1 - decay)
