"""GS-WGAN: a generator that learns from sanitized gradients of discriminators, each of which has its own images.

    every image is in one of K parts, drawn for it alone                     secret
    for T steps:  u = low frequencies of G(z, y)                             public noise, as many images of every label
                  each discriminator k learns from its part and u            `critics`, never shown nor stored
                  S = sum over k of clip(grad of f_k at u) + N(0, (2 sigma)^2)       of norm 1 each, over all of u
                  theta <- step up S / K, and so that two images of a label differ   (Mao et al. 2019)

The idea (Chen, Orekondy and Fritz 2020): a generator meets images only through the gradient at what it drew, so it is
enough to clip that and to noise it; discriminators are trained without noise.

What it costs. Neighbours differ by one image. Parts are drawn independently for every image, so the two runs are
coupled such that all others have theirs. Given all parts and the randomness of every discriminator, and given the
answers so far, all that is public is the same in both runs: generator, z, y, u. Discriminator k is a function of its
own part, its own random numbers and of that: so those of K - 1 parts are the same in both, to the last bit, and of S
one summand differs. It has norm 1 at most in both runs, whatever the image has made of its discriminator, so S moves by
2 at most. Each step is a Gaussian of sensitivity 2 that depends on the past by released answers alone: T steps
compose. A mixture over parts and random numbers that both runs share does not cost more.

The paper asks one discriminator a step, drawn by chance, and counts that as sampling. Here all answer, for two reasons.
- More is told. Beside the mean gradient the noise is that of a sum over K; a step that draws one needs about as much
  noise as signal however seldom a discriminator is drawn (1,000 parts, 120 steps, epsilon 1: 14 times as much).
- It is accounted as it is. An image that is added changes what its discriminator says, it does not add a summand. So
  with sampling neither direction of a sampled Gaussian is known to dominate a step; what does (Zhu, Dong and Wang 2022,
  Theorem 11, for a replaced example) has larger losses than both when it is composed. And whoever trains only
  discriminators that were drawn makes their state depend on draws that must be secret and new in every step.

Of labels of which its part has no image a discriminator says nothing, as 0: that of an empty part of none, and it is
never trained. K, T and all shapes are public. A loss is never looked at: nothing stops early, and progress is the
number of the step. There is no checkpoint, as it would hold discriminators: a killed training starts again with the
same noise.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.data.sets import PrivateSet
from privimage.generators.codec import dct_basis
from privimage.generators.config import COEFFICIENTS
from privimage.generators.generator import OneStep
from privimage.generators.pretrain import move_average
from privimage.matching.config import SanitizedConfig
from privimage.matching.critics import BETAS, BLOCK, Critics, gradients, losses
from privimage.matching.kernel import latent, seeded
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy, Stream
from privimage.progress import Tell

UNIT = 2**20  # a contribution of norm 1, in whole numbers
SENSITIVITY = 2 * UNIT  # a contribution becomes another
LEAST, TINY = 0.1, 1e-4  # a difference of two images below which it counts no longer; so that a root has a gradient


def train(
    generator: OneStep,
    sensitive: PrivateSet,
    *,
    config: SanitizedConfig,
    event: Event,
    entropy: Entropy,
    seed: int,
    device: torch.device,
    progress: Tell,
) -> Release[dict[str, Tensor]]:
    """The averaged weights of F, and the event they cost. `entropy` keys parts, draws and noise: it stays secret."""
    F, rng = generator.to(device).F.train(), seeded(seed)
    y = torch.arange(len(sensitive.classes)).repeat_interleave(2 * max(1, config.batch // len(sensitive.classes) // 2))
    trained = Discriminators(sensitive, config=config, event=event, entropy=entropy, seed=seed, device=device)
    adam, average = torch.optim.Adam(F.parameters(), lr=config.lr, betas=(0.5, 0.99), fused=True), copy.deepcopy(F)

    def drawn() -> Tensor:
        return trained.low(generator.pixels(latent(generator, len(y), rng).to(device), y.to(device)))

    for step in range(event.steps):
        for _ in range(config.rounds if step else max(config.rounds, config.warm)):
            with torch.no_grad():
                fake = drawn()
            trained.learn(fake)
        u = drawn()
        S = asked(trained.sum_of_clipped(u, y), event=event, stream=entropy.stream(f"noise/{step}")).value
        for group in adam.param_groups:
            group["lr"] = config.lr * min(1.0, 2 * (1 - step / event.steps) + 0.02)
        adam.zero_grad(set_to_none=True)
        towards = torch.from_numpy(S / (UNIT * config.parts)).float().to(device)
        (-(u * towards).sum() - config.apart * difference(u)).backward()
        adam.step()
        move_average(average, F, step=step, decay=config.ema)
        progress(step + 1, event.steps)
    return Release(value={name: t.detach().cpu() for name, t in average.state_dict().items()}, events=(event,))


class Discriminators:
    """The parts of the images, and a discriminator of each. All of it is private, and ends with the training."""

    def __init__(
        self,
        sensitive: PrivateSet,
        *,
        config: SanitizedConfig,
        event: Event,
        entropy: Entropy,
        seed: int,
        device: torch.device,
    ) -> None:
        sensitive.must_be(event.split)
        self._sensitive, self._config, self._device = sensitive, config, device
        channels, *sides = sensitive.shape
        self._rows, self._columns = (dct_basis(min(COEFFICIENTS, n), n).to(device) for n in sides)
        d, labels = channels * len(self._rows) * len(self._columns), len(sensitive.classes)
        self._critics = Critics(parts=config.parts, d=d, labels=labels, width=config.width)
        self._critics.start(seed)
        self._critics.to(device)
        self._adam = torch.optim.Adam(self._critics.parameters(), lr=config.critic_lr, betas=BETAS, fused=True)
        part = parted(len(sensitive), parts=config.parts, stream=entropy.stream("parts"))
        self._order = np.argsort(part, kind="stable")  # images, those of the first part first
        self._count = np.bincount(part, minlength=config.parts)
        knows = np.zeros((config.parts, labels), bool)
        knows[part, sensitive.y] = True
        self._knows = torch.from_numpy(knows).to(device)
        self._draws = entropy.stream("draws")

    def low(self, x: Tensor) -> Tensor:
        """u [n, d] of images [n, C, H, W] in 0 .. 1."""
        return (self._rows @ x @ self._columns.T).flatten(1)

    def learn(self, fake: Tensor) -> None:
        """A round: `config.seen` images of every part, each against one of its label among `fake` [n, d], which has as
        many of every label, in their order."""
        parts, seen = self._config.parts, self._config.seen
        which, other, place = self._draws.uniforms(3, parts, seen)
        has = self._count > 0
        start = np.cumsum(self._count) - self._count
        at = start[:, None] + (which * self._count[:, None]).astype(np.int64)
        index = self._order[np.where(has[:, None], at, 0)]  # of an empty part any, which count for nothing
        label, each = self._sensitive.y[index], len(fake) // len(self._sensitive.classes)
        shown = torch.from_numpy(self._sensitive.rows(index.ravel())).to(self._device).float() / 255
        real = self.low(shown).unflatten(0, (parts, seen))
        y, chosen = (torch.from_numpy(a).to(self._device) for a in (label, label * each + (other * each).astype(int)))
        loss = losses(self._critics, real, fake[chosen], y, torch.from_numpy(place).float().to(self._device))
        self._adam.zero_grad(set_to_none=True)
        (loss * torch.from_numpy(has).to(self._device)).sum().backward()
        self._adam.step()

    def sum_of_clipped(self, u: Tensor, y: Tensor) -> NDArray[np.int64]:
        """The sum over parts of their gradients at u [n, d], labels [n], each clipped as a whole: norm UNIT at most.

        A discriminator says nothing of labels of which its part has no image.
        """
        total, y = torch.zeros(u.shape, dtype=torch.float64, device=self._device), y.to(self._device)
        for start in range(0, self._config.parts, BLOCK):
            some = slice(start, start + BLOCK)
            found = gradients(self._critics, u, y, some) * self._knows[some][:, y, None]
            total += clipped(found, bound=self._config.clip * len(u) ** 0.5).sum(dim=0)  # exact: whole numbers
        return total.cpu().numpy().astype(np.int64)


def difference(u: Tensor) -> Tensor:
    """How much two images of a label differ, of u [n, d] in which each is followed by another: the mean logarithm."""
    one, other = u.unflatten(0, (-1, 2)).unbind(1)
    return torch.log(((one - other).square().sum(1) + TINY).sqrt() + LEAST).mean()


def parted(n: int, *, parts: int, stream: Stream) -> NDArray[np.int64]:
    """The part of every image [n]: drawn for it alone."""
    return (stream.uniforms(n) * parts).astype(np.int64)


def clipped(found: Tensor, *, bound: float) -> Tensor:
    """Whole numbers [parts, n, d] as float64: every part's gradient over `bound`, its norm over all of n and d UNIT at
    most.

    It is rounded towards 0, so that no rounding makes it longer; one with an entry that is no number is 0.
    """
    exact = found.double()
    norm = exact.flatten(1).norm(dim=1)[:, None, None]
    exact = torch.where(norm.isfinite(), exact, 0.0) * (UNIT * (1 - 1e-12) / norm.nan_to_num().clamp(min=bound))
    whole: Tensor = exact.trunc_()
    return whole


def asked(total: NDArray[np.int64], *, event: Event, stream: Stream) -> Release[NDArray[np.float64]]:
    """The noisy sum: a step of the event."""
    return Release(value=event.perturb(total, sensitivity=SENSITIVITY, stream=stream), events=(event,))
