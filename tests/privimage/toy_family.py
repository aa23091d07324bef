"""A generator family of a package of somebody's own: the mean image of every label, learned, with a little noise."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from privimage.dpsgd.batch import Loss, Network
from privimage.generators import Shape
from privimage.generators.codec import PixelCodec
from privimage.generators.generator import Generator, SampleConfig, Training


class Square(Loss):
    """Squared distance of an encoded image to what the network draws for its label."""

    def __call__(self, F: Network, *rows: Tensor) -> Tensor:
        z, label = rows
        return (F(label) - z.flatten(1)).square().mean(1)


class Means(Generator):
    """F is an image for each label, and one for none."""

    def __init__(self, shape: Shape, n_classes: int) -> None:
        F = nn.Embedding(n_classes + 1, shape[0] * shape[1] * shape[2])
        super().__init__(F=F, codec=PixelCodec(), shape=shape, n_classes=n_classes)

    def loss(self, training: Training) -> Loss:
        return Square()

    @torch.no_grad()
    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Iterator[Tensor]:
        rng = torch.Generator().manual_seed(seed)
        noise = 0.1 * torch.randn(len(labels), self.F.embedding_dim, generator=rng)
        z = self.F(labels.to(self.device)) + noise.to(self.device)
        yield self.codec.decode(z.view(-1, *self.shape))
