"""The two networks of a GAN in the manner of BigGAN (Brock et al. 2019), in sizes from two CPU cores to the paper's.

The generator's normalisation is conditional on label and noise, and it is of each image by itself: in batch
normalisation a fake image would depend on the others. The discriminator has GroupNorm and no spectral norm, so that
the gradient of one example is its own (PrivImage's GANs). Both see an image at 1/`patch` of its side, with the pixels
of a patch as channels. What a label adds is apart from what is true of any label, so networks that were trained without
labels are a start for training with them; a label of n_classes means "none", for the discriminator alone.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP = 8  # channels that are normalised together


class Generate(nn.Module):
    """Encoded images [B, C, H, W] in [-1, 1] of noise [B, z] and labels [B].

    A residual block doubles the side; `widths` are the channels before the first block and after each. Label and a
    share of the noise go into every block, another share starts the image; where `whole`, label and all of the noise
    go into all of them (BigGAN-deep): few blocks are no way for a label to say where a stroke is.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        n_classes: int,
        widths: tuple[int, ...],
        z: int,
        label: int,
        patch: int,
        attend: int | None,
        whole: bool,
        codes: int,
    ) -> None:
        super().__init__()
        self.patch, self.z, self.n_classes, self.whole, self.codes = patch, z, n_classes, whole, codes
        halved = len(widths) - 1
        self.start = (widths[0], *(side // patch >> halved for side in shape[1:]))
        share = z if whole else z // (halved + 1)
        self.label = nn.Linear(n_classes, label, bias=False)
        self.first = nn.Linear(share + (label if whole else 0), math.prod(self.start))
        self.blocks = nn.ModuleList(Up(a, b, share + label) for a, b in pairwise(widths))
        self.attend = nn.ModuleDict({} if attend is None else {str(attend): Attend(widths[attend])})
        self.norm = nn.GroupNorm(_groups(widths[-1]), widths[-1])
        self.last = nn.Conv2d(widths[-1], shape[0] * patch**2, 3, padding=1)
        _initialise(self)
        if not self.label.weight.is_meta:
            with torch.no_grad():
                self.label.weight.mul_(label**0.5)  # a label says as much as a value of the noise

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """See the class."""
        e: Tensor = self.label(one_hot(label, self.n_classes, z.dtype))
        first, conditions = self._shares(self._coded(z), e)
        h: Tensor = self.first(first).view(len(z), *self.start)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True), 1):
            h = block(h, condition)
            if str(i) in self.attend:
                h = self.attend[str(i)](h)
        x = torch.tanh(self.last(F.relu(self.norm(h))))
        out: Tensor = F.pixel_shuffle(x, self.patch)
        return out

    def code(self, z: Tensor) -> Tensor:
        """Which kind of image the noise says, [B] in 0 .. codes - 1."""
        return z[:, : self.codes].argmax(1)

    def _coded(self, z: Tensor) -> Tensor:
        """The noise, of its first values only which is the largest."""
        if not self.codes:
            return z
        kind = one_hot(self.code(z), self.codes, z.dtype) * self.codes**0.5
        return torch.cat([kind, z[:, self.codes :]], dim=1)

    def _shares(self, z: Tensor, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the image starts from, and what every block is told."""
        blocks = len(self.blocks)
        if self.whole:
            both = torch.cat([e, z], dim=1)
            return both, [both] * blocks
        first, *shares = z.split(z.shape[1] // (blocks + 1), dim=1)
        return first, [torch.cat([e, share], dim=1) for share in shares]


class Up(nn.Module):
    """[B, a, S, S] -> [B, b, 2S, 2S]: BigGAN's residual block of a generator."""

    def __init__(self, a: int, b: int, condition: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = Conditional(a, condition), Conditional(b, condition)
        self.conv_1, self.conv_2 = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1)
        self.skip = nn.Conv2d(a, b, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The larger image, with the condition [B, condition] in its normalisations."""
        h = self.conv_1(_twice(F.relu(self.norm_1(x, condition))))
        h = self.conv_2(F.relu(self.norm_2(h, condition)))
        out: Tensor = h + _twice(self.skip(x))
        return out


class Conditional(nn.Module):
    """Group normalisation with scale and shift from a condition."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.groups = _groups(channels)
        self.scale = nn.Linear(condition, channels, bias=False)
        self.shift = nn.Linear(condition, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[B, channels, S, S] of the same."""
        scale, shift = (of(condition)[:, :, None, None] for of in (self.scale, self.shift))
        out: Tensor = F.group_norm(x, self.groups) * (1 + scale) + shift
        return out


class Attend(nn.Module):
    """[B, C, S, S] of the same: BigGAN's self-attention, keys and values at half the side; nothing at first."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(C, C // 8, 1, bias=False) for _ in range(2))
        self.value, self.out = nn.Conv2d(C, C // 2, 1, bias=False), nn.Conv2d(C // 2, C, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """x and what it attends to."""
        query = self.query(x).flatten(2)
        key, value = (F.max_pool2d(of(x), 2).flatten(2) for of in (self.key, self.value))
        weight = (query.transpose(1, 2) @ key).softmax(2)  # [B, positions, positions / 4]
        seen = (value @ weight.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
        out: Tensor = x + self.gain * self.out(seen)
        return out


class Discriminate(nn.Module):
    """How real encoded images [B, C, H, W] of labels [B, m] look: [B, m], by projection (Miyato and Koyama 2018).

    Residual blocks of these widths; the first `halving` halve the side. What they found is summed over positions, or
    goes through a layer of `head` values that sees them all: few blocks do not see what is where by themselves.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        n_classes: int,
        widths: tuple[int, ...],
        halving: int,
        patch: int,
        head: int | None,
    ) -> None:
        super().__init__()
        self.patch, self.n_classes = patch, n_classes
        into = (shape[0] * patch**2, *widths)
        self.blocks = nn.ModuleList(
            Down(a, b, first=i == 0, halve=i < halving) for i, (a, b) in enumerate(pairwise(into))
        )
        places = math.prod(side // patch >> halving for side in shape[1:])
        self.head = None if head is None else nn.Linear(widths[-1] * places, head)
        self.width = head or widths[-1]  # values that are found in an image
        self.out = nn.Linear(self.width, 1)
        self.label = nn.Linear(n_classes, self.width, bias=False)
        _initialise(self)
        if not self.label.weight.is_meta:
            nn.init.zeros_(self.label.weight)  # nothing is known of labels at first

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        return self.judge(self.found(x), labels)

    def conditioning(self) -> list[nn.Module]:
        """See Attending."""
        return [self.label]

    def attending(self) -> list[nn.Module]:
        """What is made of all that is found in an image."""
        return [self.out]

    def found(self, x: Tensor) -> Tensor:
        """What is found in images, [B, width]."""
        h = F.pixel_unshuffle(x, self.patch)
        for block in self.blocks:
            h = block(h)
        h = F.relu(h)
        return h.sum((2, 3)) if self.head is None else F.relu(self.head(h.flatten(1)))

    def judge(self, h: Tensor, labels: Tensor) -> Tensor:
        """How real images look in which that was found."""
        told: Tensor = self.out(h) + (h[:, None] * self.label(one_hot(labels, self.n_classes, h.dtype))).sum(2)
        return told


class Down(nn.Module):
    """[B, a, S, S] -> [B, b, S, S], or half that side: BigGAN's residual block of a discriminator."""

    def __init__(self, a: int, b: int, *, first: bool, halve: bool) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        self.norm_1 = nn.Identity() if first else nn.GroupNorm(_groups(a), a)
        self.norm_2 = nn.GroupNorm(_groups(b), b)
        self.conv_1, self.conv_2 = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1)
        self.skip = nn.Conv2d(a, b, 1) if first or halve or a != b else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The features, smaller where it halves."""
        h = x if self.first else F.relu(self.norm_1(x))
        h = self.conv_2(F.relu(self.norm_2(self.conv_1(h))))
        if self.halve:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        out: Tensor = h + self.skip(x)
        return out


def one_hot(label: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """[..., n_classes] of labels [...]: all zeros for n_classes."""
    return (label[..., None] == torch.arange(n_classes, device=label.device)).to(dtype)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _groups(channels: int) -> int:
    """Groups of about GROUP channels, in equal parts."""
    return next(g for g in range(max(1, channels // GROUP), 0, -1) if channels % g == 0)


def _initialise(network: nn.Module) -> None:
    """Orthogonal weights, as in BigGAN, and no biases; nothing for weights that have no storage."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.is_meta:
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
