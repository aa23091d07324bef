"""DP-SGD fine-tuning of a generator on the sensitive images (PrivImage, Algorithm 2): one private release.

    for T steps:  B ~ Poisson(q)
                  g_i = grad of the mean of the losses of K draws of example i,   i in B
                  G   = sum_i min(1, C / |g_i|) g_i + N(0, (sigma C)^2 I)
                  theta <- step(theta, G / (q n))          Adam, or SpectralDescent
    release the mean of the last iterates

What learns from F (`Generator.follower`: the generator of a GAN) does so after a step, from the noisy F alone.

Opacus's optimizer adds the noise, divides by the expected batch and steps; the sum comes from an engine of ours, the
noise and all that is drawn from keyed streams (`privimage.privacy.entropy`). Every worker draws the same batches, K
draws and noise, and sums its share of the clipped gradients. A checkpoint keeps no state of a stream, so nothing in it
is secret but what it was computed from: the noise and the draws of a step have keys of their own, and batches that are
done are drawn again, n numbers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from privimage.checkpoint import NO_CHECKPOINT, Checkpoint, Stateful
from privimage.data.sets import PrivateSet
from privimage.device import tf32
from privimage.dpsgd.adapters import trained, whole
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer, step_noise
from privimage.dpsgd.normals import Tensors
from privimage.dpsgd.poisson import poisson_batches
from privimage.dpsgd.spectral import SpectralDescent
from privimage.dpsgd.sums import ClippedSums
from privimage.generators.generator import Generator
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Seen, may_read
from privimage.progress import Tell, silent
from privimage.workers import Workers

NO_CLIP = 1e12  # the clip of a run without noise: large enough never to bind, finite so that 0 * C is 0


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """The averaged weights of what is learned after fine-tuning."""

    state: dict[str, Tensor]


def fine_tune(
    generator: Generator,
    sensitive: PrivateSet,
    *,
    config: FinetuneConfig,
    event: Event,
    entropy: Entropy,
    workers: Workers,
    progress: Tell = silent,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    seen: Seen | None = None,
) -> Release[FineTuned]:
    """The fine-tuned weights and the event they cost. `entropy` keys batches, K draws and noise: it stays secret.

    `event.sigma` 0 means neither noise nor clipping: the release is then marked as not private, and `seen` is the look
    that was written down. A killed call goes on from `checkpoint` as it would have, on any number of workers."""
    may_read(sensitive, event if event.private else seen)
    sensitive.must_be(event.split)
    learned, F, C = generator.learned.to(workers.device).train(), generator.F, config.C if event.private else NO_CLIP
    batches = poisson_batches(n=len(sensitive), q=event.q, steps=event.steps, stream=entropy.stream("batches"))
    with (
        tf32(config.precision == "tf32"),
        trained(F, config, entropy) as count,
        step_noise(entropy, count=count, device=workers.device, private=event.private) as noise,
    ):
        average = AveragedModel(learned)
        follower = generator.follower(config.follow, labels=range(generator.n_classes))
        optimizer = _optimizer(F, config, event, C=C, n=len(sensitive), noise=noise)
        sums = ClippedSums(generator, sensitive, config=config, event=event, C=C, entropy=entropy, workers=workers)
        parts: dict[str, Stateful] = {"F": F, "optimizer": optimizer, "average": average, **follower.parts}
        for step, batch in islice(enumerate(batches), checkpoint.restore(parts), None):
            _begin(step, optimizer, noise, lr=config.lr * (rate := 1 - (1 - config.final_lr) * step / event.steps))
            sums.leave(batch, step=step)
            optimizer.step()
            follower.after(step, rng=Tensors(entropy.stream(f"follower/{step}")), rate=rate, workers=workers)
            if step >= config.first_averaged(event.steps):
                average.update_parameters(learned)
            checkpoint.save(step + 1, parts)
            progress(step + 1, event.steps)
    return Release(value=FineTuned(state=whole(average.module)), events=(event,))


def _optimizer(
    F: nn.Module, config: FinetuneConfig, event: Event, *, C: float, n: int, noise: StepNoise | None
) -> StreamNoiseOptimizer:
    """Opacus's: noise of std sigma*C on the sum in p.grad, division by the expected batch, then the step."""
    parameters = [p for p in F.parameters() if p.requires_grad]
    step: torch.optim.Optimizer
    if config.optimizer == "adam":
        fused = parameters[0].device.type == "cuda"  # one kernel, where kernels are waited for
        step = torch.optim.Adam(parameters, lr=config.lr, betas=(config.momentum, 0.99), fused=fused)
    else:
        noise_std = event.sigma * C / (event.q * n)
        step = SpectralDescent(
            parameters, lr=config.lr, momentum=config.momentum, noise_std=noise_std, edge=config.edge
        )
    return StreamNoiseOptimizer(
        step,
        noise_multiplier=event.sigma,
        max_grad_norm=C,
        expected_batch_size=event.q * n,
        take=None if noise is None else noise.take,
    )


def _begin(step: int, optimizer: StreamNoiseOptimizer, noise: StepNoise | None, *, lr: float) -> None:
    """Make ready for a step: its noise, its learning rate, no gradients yet."""
    if noise is not None:
        noise.begin(step)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
