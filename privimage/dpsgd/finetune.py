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
from privimage.dpsgd.adapters import trained, whole
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.engine import choose
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer, step_noise
from privimage.dpsgd.normals import Tensors
from privimage.dpsgd.poisson import poisson_batches
from privimage.dpsgd.spectral import SpectralDescent
from privimage.generators.generator import Generator
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Seen, may_read
from privimage.progress import Tell, silent
from privimage.workers import Workers

BLOCK = 64  # examples that share one stream of draws
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
    first = min(round(event.steps * (1 - config.averaged)), event.steps - 1)  # of those that are averaged
    with (
        trained(F, config, entropy) as count,
        step_noise(entropy, count=count, device=workers.device, private=event.private) as noise,
    ):
        average = AveragedModel(learned)
        follower = generator.follower(config.follow, labels=range(generator.n_classes))
        optimizer = _optimizer(F, config, event, C=C, n=len(sensitive), noise=noise)
        parts: dict[str, Stateful] = {"F": F, "optimizer": optimizer, "average": average, **follower.parts}
        for step, batch in islice(enumerate(batches), checkpoint.restore(parts), None):
            rate = 1 - (1 - config.final_lr) * step / event.steps
            _begin(step, optimizer, noise, lr=config.lr * rate)
            _add_clipped_sums(generator, sensitive, batch, config=config, C=C, draws=(entropy, step), workers=workers)
            optimizer.step()
            follower.after(step, rng=Tensors(entropy.stream(f"follower/{step}")), rate=rate, workers=workers)
            if step >= first:
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
        step = torch.optim.Adam(parameters, lr=config.lr, betas=(config.momentum, 0.99))
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


def _add_clipped_sums(
    generator: Generator,
    sensitive: PrivateSet,
    batch: Tensor,
    *,
    config: FinetuneConfig,
    C: float,
    draws: tuple[Entropy, int],
    workers: Workers,
) -> None:
    """Leave in every p.grad the sum of clipped gradients of the logical batch, over all workers.

    Draws come in blocks of BLOCK examples, each from a stream of its own, and go round the workers by whole blocks.
    So neither the number of workers nor the physical batch changes a draw. An example more moves those after it to
    other draws, and to other places among those who may join a batch. The proof needs that each example has the same
    with and without it: the two runs are coupled so that they do, and then the sums differ by C at most. One may
    couple like that only what is drawn independently for every example, and what a keyed stream gives out is as good
    as that for all who do not know the key, however much of it they see (were it a Mersenne Twister, or its key
    public, the draws of an example would tell those of others, and the sums would differ by far more than C).
    Every worker takes part in the one sum, also one without a block; an empty batch leaves zeros: it still takes its
    noise step.
    """
    F = generator.F
    for p in F.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p)
    engine, loss = choose(config.engine, F), generator.loss(config.training)
    blocks = list(enumerate(batch.split(BLOCK))) if len(batch) else []
    mine, together = blocks[workers.rank :: workers.size], max(1, config.physical_batch // BLOCK)
    for start in range(0, len(mine), together):
        some = mine[start : start + together]
        parts = [_draw_block(generator, sensitive, index, (*draws, b), config, workers) for b, index in some]
        for physical in Batch.joined(parts).split(config.physical_batch):
            engine(F, physical, loss=loss, C=C)
    workers.all_reduce([p.grad for p in F.parameters() if p.grad is not None])


def _draw_block(
    generator: Generator,
    sensitive: PrivateSet,
    index: Tensor,
    key: tuple[Entropy, int, int],
    config: FinetuneConfig,
    workers: Workers,
) -> Batch:
    """The draws of one block of examples, by its (entropy, step, block)."""
    entropy, step, block = key
    rows = index.numpy()
    return generator.batch(
        generator.codec.encode(torch.from_numpy(sensitive.rows(rows)).to(workers.device)),
        torch.from_numpy(sensitive.y[rows]),
        training=config.training,
        rng=Tensors(entropy.stream(f"draws/{step}/{block}")),
    )
