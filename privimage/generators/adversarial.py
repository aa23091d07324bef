"""Adversarial: the family of generators that learn from a discriminator, which is what is trained on images.

The discriminator F meets images, so it is F that DP-SGD trains, and the real and the fake image of one example are one
example: one loss, one gradient, clipped once. The generator G learns from F alone, from noise of its own and from
labels that everybody knows: post-processing of the noisy F, however often it is done.

A generator that is told a label falls for the one image of it that looks most real. So where its size has codes, it
also learns that a network Q can tell the code from what F finds in the image (InfoGAN, Chen et al. 2016), and that two
images of a label differ (Mao et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.checkpoint import Stateful
from privimage.device import onto
from privimage.dpsgd.batch import Batch, Loss, Network
from privimage.finite import diverged
from privimage.generators import Shape
from privimage.generators.codec import PixelCodec
from privimage.generators.config import FollowConfig, Precision
from privimage.generators.gan_network import Discriminate, Generate
from privimage.generators.generator import Follower, Generator, Numbers, SampleConfig, Training
from privimage.workers import Workers

BETAS = (0.5, 0.99)  # of Adam, for the generator
CODED, APART = 1.0, 0.3  # weights of telling the code, and of two images that differ, beside that of looking real
LEAST = 0.01  # difference of two images below which it counts no longer


class Adversarial(Generator):
    """A discriminator F and its generator G, in pixels."""

    momentum = 0.5
    F: Discriminate

    def __init__(self, *, F: Discriminate, G: Generate, shape: Shape, n_classes: int) -> None:
        super().__init__(F=F, codec=PixelCodec(), shape=shape, n_classes=n_classes)
        self.G = G
        self.Q = nn.Linear(F.width, G.codes) if G.codes else None

    @property
    def learned(self) -> nn.ModuleDict:
        """All networks."""
        return nn.ModuleDict({"F": self.F, "G": self.G} | ({} if self.Q is None else {"Q": self.Q}))

    def follower(self, config: FollowConfig, *, labels: Sequence[int]) -> Follower:
        """G, and Q with it. Where there is no label to learn of, G is as if there were none: else it would take them
        for kinds of its own, which fine-tuning had to undo."""
        if set(labels) == {self.null}:
            torch.nn.init.zeros_(self.G.label.weight)
        return GeneratorFollows(self, config, labels=torch.tensor(labels))

    def loss(self, training: Training) -> Loss:
        """The hinge of a real and of a fake image."""
        return Hinge(precision=training.precision)

    def batch(self, z: Tensor, y: Tensor, *, training: Training, rng: Numbers) -> Batch:
        """With a wrong label and K fake images of the right one for every example."""
        n, K, N = len(z), training.K, self.n_classes
        noise = onto(z.device, rng.normals(n, K, self.G.z).float())
        others, y = rng.uniforms(n), y.cpu()
        wrong = torch.where(y == self.null, y, (y + 1 + (others * (N - 1)).long()) % N)
        with torch.no_grad():
            fake = self.G(noise.flatten(0, 1), onto(z.device, y.repeat_interleave(K))).unflatten(0, (n, K))
        return Batch(each=(z, onto(z.device, torch.stack([y, wrong], 1))), drawn=(fake,), K=K)

    @torch.no_grad()
    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Iterator[Tensor]:
        """Images of G, of every so many candidates that in which F tells the label best. About `config.batch` at a
        time. Raises Diverged where they are not finite."""
        rng, k = torch.Generator().manual_seed(seed), config.candidates
        noise, n = torch.randn(len(labels), k, self.G.z, generator=rng), max(1, config.batch // k)
        for part, label in zip(noise.to(self.device).split(n), labels.to(self.device).split(n), strict=True):
            x = self.G(part.flatten(0, 1), label.repeat_interleave(k))
            if not x.isfinite().all():
                raise diverged("samples")
            yield self.codec.decode(x if k == 1 else self._told_best(x, label))

    def _told_best(self, x: Tensor, label: Tensor) -> Tensor:
        """Of as many images for each of these labels [n], that which F takes for it rather than for another."""
        every = torch.arange(self.n_classes, device=x.device).expand(len(x), -1)
        told = self.F(x, every).log_softmax(1).unflatten(0, (len(label), -1))  # [n, candidates, n_classes]
        best = told[torch.arange(len(label)), :, label].argmax(1)
        chosen: Tensor = x.unflatten(0, (len(label), -1))[torch.arange(len(label)), best]
        return chosen


@dataclass(frozen=True, kw_only=True)
class Hinge(Loss):
    """The hinge loss of a discriminator, on rows of a real image, its label with a wrong one, and a fake image.

    The real image has to look real with its label; what has to look fake is, half and half, the fake image of that
    label and the real one with the wrong label (Reed et al. 2016): in few steps labels are not learned without. An
    image without a label has no wrong one, and is told apart from the fake alone.
    """

    precision: Precision = "fp32"

    def __call__(self, F: Network, *rows: Tensor) -> Tensor:
        """Losses [R]."""
        real, labels, fake = rows
        with torch.autocast(real.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            of_real, of_fake = F(real, labels), F(fake, labels[:, :1])
        right, wrong = of_real.to(real.dtype).unbind(1)
        made = functional.relu(1 + of_fake[:, 0].to(real.dtype))
        other = functional.relu(1 + wrong).where(labels[:, 0] != labels[:, 1], made)
        return functional.relu(1 - right) + (made + other) / 2

    @property
    def exact(self) -> Loss:
        """In float32."""
        return replace(self, precision="fp32")


class GeneratorFollows(Follower):
    """G, which learns from F with Adam, and Q; all that they see is F, their own noise, and labels that are public."""

    def __init__(self, of: Adversarial, config: FollowConfig, *, labels: Tensor) -> None:
        self.of, self.config, self.labels = of, config, labels
        self.following = nn.ModuleDict({name: part for name, part in of.learned.items() if name != "F"})
        self.adam = torch.optim.Adam(self.following.parameters(), lr=config.lr, betas=BETAS)

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """G and Q, and their optimizer."""
        return {"G": self.following, "G-adam": self.adam}

    def after(self, step: int, *, rng: Numbers, rate: float, workers: Workers) -> None:
        """See Follower. Every worker takes a share of each batch."""
        if (step + 1) % self.config.every:
            return
        for group in self.adam.param_groups:
            group["lr"] = self.config.lr * rate
        parameters, G, pairs = list(self.following.parameters()), self.of.G, self.config.batch // 2
        for _ in range(self.config.times):
            noise, place = rng.normals(2, pairs, G.z).float(), rng.uniforms(pairs)
            label = self.labels[(place * len(self.labels)).long()]
            share = slice(workers.rank, None, workers.size)
            loss = self._loss(onto(workers.device, noise[:, share]), onto(workers.device, label[share])) / (2 * pairs)
            gradients = list(torch.autograd.grad(loss, parameters))  # of these alone: F stays as it is
            workers.all_reduce(gradients)
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            self.adam.step()
            self.adam.zero_grad(set_to_none=True)

    def _loss(self, noise: Tensor, label: Tensor) -> Tensor:
        """The sum of how fake both images of each label [n] look, with codes also of what is told of them.

        `noise` is [2, n, z].
        """
        F, G, Q = self.of.F, self.of.G, self.of.Q
        z, label = noise.flatten(0, 1), label.repeat(2)
        image = G(z, label)
        found = F.found(image)
        fake: Tensor = -F.judge(found, label[:, None]).sum()
        if Q is None:
            return fake
        told = functional.cross_entropy(Q(found), G.code(z), reduction="sum")
        one, other = image.chunk(2)
        apart = (one - other).abs().mean((1, 2, 3))
        return fake + CODED * told - 2 * APART * torch.log(apart + LEAST).sum()
