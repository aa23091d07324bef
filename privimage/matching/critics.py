"""Critics: many small discriminators side by side, each of which sees the images of its own part alone. (GS-WGAN.)

    f_k(u, y)         a perceptron of two hidden layers, of low frequencies u of an image and its label
    loss_k = mean over drawn images x of part k, label y:   f_k(G(z, y), y) - f_k(x, y) + 10 (|grad f_k(v, y)| - 1)^2

v lies anywhere between G(z, y) and x (Gulrajani et al. 2017). All are computed together, but no number of one enters
another: weights, images and random numbers have the part as their first axis, and its length is public.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PENALTY = 10.0  # of gradients that are longer or shorter than 1
SLOPE = 0.2  # of a unit below 0
BETAS = (0.0, 0.9)  # of Adam
BLOCK = 64  # parts whose gradients are in memory at once


class Critics(nn.Module):
    """`parts` discriminators of inputs [parts, n, d] and labels [parts, n]: values [parts, n]."""

    def __init__(self, *, parts: int, d: int, labels: int, width: int) -> None:
        super().__init__()
        self.labels = labels
        self.first = nn.Parameter(torch.empty(parts, d, width))
        self.label = nn.Parameter(torch.empty(parts, labels, width))
        self.second = nn.Parameter(torch.empty(parts, width, width))
        self.last = nn.Parameter(torch.empty(parts, width, 1))
        self.bias = nn.Parameter(torch.zeros(parts, 1, width))
        self.inner = nn.Parameter(torch.zeros(parts, 1, width))

    def start(self, seed: int) -> None:
        """Weights before training, the same for all parts."""
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight, inputs in (
                (self.first, self.first.shape[1]),
                (self.label, 1),
                (self.second, 0),
                (self.last, 0),
            ):
                drawn = torch.randn(weight.shape[1:], generator=rng)
                weight.copy_((drawn / (inputs or weight.shape[1]) ** 0.5).expand_as(weight))

    def forward(self, u: Tensor, y: Tensor, some: slice = slice(None)) -> Tensor:
        """See the class; of these parts alone."""
        labels = functional.one_hot(y, self.labels).to(u.dtype)
        h = torch.baddbmm(self.bias[some], u, self.first[some]) + labels @ self.label[some]
        h = functional.leaky_relu(h, SLOPE)
        h = functional.leaky_relu(torch.baddbmm(self.inner[some], h, self.second[some]), SLOPE)
        value: Tensor = (h @ self.last[some]).squeeze(2)
        return value


def losses(critics: Critics, real: Tensor, fake: Tensor, y: Tensor, place: Tensor) -> Tensor:
    """See above: [parts], of images [parts, n, d] and `place` [parts, n] in 0 .. 1 of the images in between."""
    between = torch.lerp(fake, real, place[:, :, None]).requires_grad_()
    (slope,) = torch.autograd.grad(critics(between, y).sum(), between, create_graph=True)
    penalty = PENALTY * ((slope.square().sum(2) + 1e-12).sqrt() - 1).square()
    found: Tensor = (critics(fake, y) - critics(real, y) + penalty).mean(1)
    return found


def gradients(critics: Critics, u: Tensor, y: Tensor, some: slice) -> Tensor:
    """How the value that each of these discriminators gives to images [n, d] of labels [n] grows with them: of every
    part [parts, n, d]."""
    count = critics.last[some].shape[0]
    shown = u.detach().expand(count, *u.shape).contiguous().requires_grad_()
    (grown,) = torch.autograd.grad(critics(shown, y.expand(count, -1), some).sum(), shown)
    return grown
