"""Fit: a generator trained until the means of its features are the noisy means of every label.

    loss = sum over labels y of w_y |M[y] - mean phi(G(z, y))|^2           w_y as the precision of M[y]: n_y^2

The mean is over the images of a step. (Harder et al. 2021, eq. 3, in which rows are sums over n: the same weights.)
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.checkpoint import NO_CHECKPOINT, Checkpoint, Stateful
from privimage.generators.generator import OneStep
from privimage.generators.pretrain import Seeded, move_average
from privimage.matching.config import MatchConfig
from privimage.matching.features import Phi
from privimage.means.answer import Means
from privimage.progress import Tell


def match(
    generator: OneStep,
    features: Phi,
    means: Means,
    *,
    config: MatchConfig,
    seed: int,
    device: torch.device,
    progress: Tell,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    critic: Opponent | None = None,
) -> dict[str, Tensor]:
    """The averaged weights of F after training to meet `means`. A killed call goes on from `checkpoint`.

    `critic` weighs a frequency, the features of which are a cosine and then a sine; None: all features alike.
    """
    F, labels = generator.to(device).F.train(), len(means.M)
    M = torch.from_numpy(means.M).float().to(device)
    w = torch.from_numpy(precision(means.n)).float().to(device)
    y = torch.arange(labels).repeat_interleave(max(2, config.batch // labels))
    rng = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(F.parameters(), lr=config.lr, betas=(0.5, 0.99), fused=True)
    average = copy.deepcopy(F)
    parts: dict[str, Stateful] = {"F": F, "adam": adam, "average": average, "rng": rng}
    if critic is not None:
        parts |= {"critic": critic.weights.to(device), "critic-adam": critic.adam}
    for step in range(checkpoint.restore(parts), config.steps):
        z = generator.noise(len(y), Seeded(rng)).to(device)
        phi = features(generator.pixels(z, y.to(device)))
        off = gaps(phi.unflatten(0, (labels, -1)), M)
        if critic is not None:
            off = critic.weighed(off, w)
        _descend(adam, (w * off.sum(1)).sum(), lr=config.lr * _schedule(step, config.steps))
        move_average(average, F, step=step, decay=config.ema)
        checkpoint.save(step + 1, parts)
        progress(step + 1, config.steps)
    return {name: tensor.detach().cpu() for name, tensor in average.state_dict().items()}


class Opponent:
    """A critic with its optimizer: it takes a step up whenever it has weighed."""

    def __init__(self, weights: nn.Module, *, lr: float) -> None:
        self.weights = weights
        self.adam = torch.optim.Adam(weights.parameters(), lr=lr)

    def weighed(self, off: Tensor, w: Tensor) -> Tensor:
        """`off` [labels, d] by the weights as they are; then they are moved to where more is missed."""
        by = torch.cat([self.weights()] * 2)
        gain = (by * (w[:, None] * off.detach()).sum(0)).sum() / off.detach().sum().clamp(min=1e-12)
        self.adam.zero_grad(set_to_none=True)
        (-gain).backward()
        self.adam.step()
        return by.detach() * off


def gaps(phi: Tensor, M: Tensor) -> Tensor:
    """(M - mean phi)^2 [labels, d] of phi [labels, images, d]."""
    return (M - phi.mean(1)).square()


def missed(phi: Tensor, M: Tensor) -> Tensor:
    """|M - mean phi|^2 [labels] of phi [labels, images, d]."""
    return gaps(phi, M).sum(1)


def precision(n: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much the means of labels with so many images [labels] count: 1 on average."""
    square: NDArray[np.float64] = n**2 / (n**2).mean()
    return square


def _descend(adam: torch.optim.Adam, loss: Tensor, *, lr: float) -> None:
    """One step down the loss."""
    for group in adam.param_groups:
        group["lr"] = lr
    adam.zero_grad(set_to_none=True)
    loss.backward()
    adam.step()


def _schedule(step: int, steps: int) -> float:
    """Constant, then linear to 2% over the last half."""
    return min(1.0, 2 * (1 - step / steps) + 0.02)
