"""DP-Kernel: in every step a generator meets the noisy mean embedding of a batch, in a kernel that is drawn anew.

    for T steps:  B ~ Poisson(q)
                  W ~ N(0, 1 / length^2)                  public; the length goes round LENGTHS
                  S[y] = sum over x in B of label y of [cos(a) phi(x), sin(a)] + N(0, sigma^2)
                  theta <- step down sum over y of w_y |M[y] - mean phi(G(z, y))|^2     M[y], w_y as of any noisy mean

The paper (Jiang, Sun and Yu 2023) adds to the mean embedding a Gaussian process with the covariance of the kernel. In
random features of the kernel that is white noise on the coordinates: a Gaussian process whose paths have a gradient
wherever the generator's images lie, and a mechanism of finitely many numbers, of sensitivity 1. Every step is one use
of the subsampled Gaussian mechanism. Counts are averaged over all steps so far.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.checkpoint import NO_CHECKPOINT, Checkpoint, Stateful
from privimage.data.placed import placed
from privimage.data.sets import PrivateSet
from privimage.dpsgd.poisson import poisson_batches
from privimage.generators.generator import OneStep
from privimage.generators.pretrain import Seeded, move_average
from privimage.matching.config import KernelConfig
from privimage.matching.features import Fourier, phi_of
from privimage.matching.fit import missed, precision
from privimage.means.answer import Means, contributions, counted, weigh
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell

LENGTHS = (1.0, 0.5, 2.0)  # of the kernel of a step, as multiples of that of the configuration
UNIT = 2**20  # see matching.stages


class Counted(nn.Module):
    """The sum over steps of the noisy counts of every label."""

    total: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(labels, dtype=torch.float64))


def train(
    generator: OneStep,
    sensitive: PrivateSet,
    *,
    config: KernelConfig,
    event: Event,
    entropy: Entropy,
    seed: int,
    device: torch.device,
    progress: Tell,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> Release[dict[str, Tensor]]:
    """The averaged weights of F, and the event they cost. `entropy` keys batches and noise: it stays secret."""
    sensitive.must_be(event.split)
    F, labels = generator.to(device).F.train(), len(sensitive.classes)
    y = torch.arange(labels).repeat_interleave(max(2, config.batch // labels))
    rng, counted, average = seeded(seed), Counted(labels), copy.deepcopy(F)
    adam = torch.optim.Adam(F.parameters(), lr=config.lr, betas=(0.5, 0.99), fused=True)
    batches = poisson_batches(n=len(sensitive), q=event.q, steps=event.steps, stream=entropy.stream("batches"))
    parts: dict[str, Stateful] = {"F": F, "adam": adam, "average": average, "rng": rng, "counted": counted}
    for step, batch in islice(enumerate(batches), checkpoint.restore(parts), None):
        features = drawn(config, step, sensitive.shape, device=device)
        S = asked(features, sensitive, batch.numpy(), event=event, entropy=entropy, step=step).value
        counted.total += torch.from_numpy(S[:, -1])
        means = told(S, counted.total.numpy() / (step + 1), event=event, steps=step + 1, n=event.q * len(sensitive))
        phi = features(generator.pixels(latent(generator, len(y), rng).to(device), y.to(device)))
        off = missed(phi.unflatten(0, (labels, -1)), torch.from_numpy(means.M).float().to(device))
        for group in adam.param_groups:
            group["lr"] = config.lr * min(1.0, 2 * (1 - step / event.steps) + 0.02)
        adam.zero_grad(set_to_none=True)
        (torch.from_numpy(precision(means.n)).float().to(device) * off).sum().backward()
        adam.step()
        move_average(average, F, step=step, decay=config.ema)
        checkpoint.save(step + 1, parts)
        progress(step + 1, event.steps)
    return Release(value={name: t.detach().cpu() for name, t in average.state_dict().items()}, events=(event,))


def seeded(seed: int) -> torch.Generator:
    """Where the noise that images are drawn from comes from: everybody may know it."""
    return torch.Generator().manual_seed(seed)


def latent(generator: OneStep, n: int, rng: torch.Generator) -> Tensor:
    """What n images are drawn from."""
    return generator.noise(n, Seeded(rng))


def drawn(config: KernelConfig, step: int, shape: tuple[int, int, int], *, device: torch.device) -> Fourier:
    """The features of a step: the same for everybody."""
    pixels, length = int(np.prod(shape)), config.length * LENGTHS[step % len(LENGTHS)]
    W = np.random.default_rng((1, step)).standard_normal((config.features // 2, pixels), dtype=np.float32)
    return Fourier(W / np.float32(length * pixels**0.5), device=device)


def asked(
    features: Fourier, sensitive: PrivateSet, batch: NDArray[np.int64], *, event: Event, entropy: Entropy, step: int
) -> Release[NDArray[np.float64]]:
    """The noisy S [labels, features + 1] of a batch, in which a contribution of norm 1 is UNIT: a step of the event."""
    S = np.zeros((len(sensitive.classes), features.d + 1), np.int64)
    drawn = replace(sensitive, x=sensitive.part(batch), y=sensitive.y[batch])
    for some in placed(drawn):
        phi = phi_of(some.x, features, device=features.device)
        np.add.at(S, drawn.y[some.index], contributions(phi, UNIT)[some.row])
    noisy = event.perturb(S, sensitivity=UNIT, stream=entropy.stream(f"noise/{step}"))
    return Release(value=noisy, events=(event,))


def told(S: NDArray[np.float64], counts: NDArray[np.float64], *, event: Event, steps: int, n: float) -> Means:
    """What S tells, with the mean of the noisy counts of so many steps, of batches of `n` images: as `estimate`."""
    cos, sin = weigh(S.shape[1] - 1)
    even, noise = n / len(S), event.sigma / sin / steps**0.5
    found = counted(counts / (UNIT * sin), noise=noise, even=even)
    return Means(M=S[:, :-1] / (UNIT * cos) / found[:, None], noise=event.sigma / cos / found, n=found)
