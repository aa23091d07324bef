"""PrivImage's first half: the semantic query function, the noisy histogram, and the selection.

    F_q : image -> public classes            trained on the public set                         (public)
    S[y, c] = number of sensitive images with label y whose top-k1 semantics contain c
    S~ = S + N(0, (sqrt(k1) sigma_s)^2)      one draw over the whole matrix, on a grid         (private release #1)
    top-k2 classes of every row of S~        k2 from the selection ratio N                     (post-processing)

Adding or removing one image changes k1 entries of one row by 1, so the L2 sensitivity of S is sqrt(k1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from privimage.data.augment import strokes
from privimage.data.sets import Images, PrivateSet, PublicSet
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.query import SemanticsConfig

BLOCK = 500  # images at a time


def query_network(*, channels: int, n_classes: int) -> nn.Sequential:
    """A small convolutional classifier; logits [B, n_classes] of images [B, channels, H, W] in [0, 1]."""

    def block(i: int, o: int, kernel: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, kernel, 2, kernel // 2), nn.BatchNorm2d(o), nn.ReLU()]

    return nn.Sequential(
        *block(channels, 32, 5),
        *block(32, 64, 3),
        *block(64, 128, 3),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(2048, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, n_classes),
    )


def train_query_function(
    public: PublicSet,
    *,
    config: SemanticsConfig,
    seed: int,
    device: torch.device,
    progress: Tell,
) -> dict[str, Tensor]:
    """Weights of a `query_network` that classifies the public set. Touches public data only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = query_network(channels=public.shape[0], n_classes=len(public.classes)).to(device).train()
    rng = torch.Generator().manual_seed(seed)
    order = np.random.default_rng((seed, 2))
    adam = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=1e-3, fused=True)
    for step in range(config.steps):
        for group in adam.param_groups:
            group["lr"] = config.lr * max(0.02, 1 - step / config.steps)
        index = order.integers(0, len(public), config.batch)
        x = _unit(public.rows(index), device)
        logits = net(strokes(x, rng=rng) if config.augment else x)
        adam.zero_grad(set_to_none=True)
        functional.cross_entropy(logits, torch.from_numpy(public.y[index]).to(device)).backward()
        adam.step()
        progress(step + 1, config.steps)
    return {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}


def _unit(x: NDArray[np.uint8], device: torch.device) -> Tensor:
    return torch.from_numpy(x).to(device).float() / 255


@dataclass(frozen=True, kw_only=True)
class QueryFunction:
    """The trained query function: the top-k1 public classes of an image."""

    net: nn.Sequential
    n_classes: int

    @staticmethod
    def load(state: dict[str, Tensor], *, channels: int, n_classes: int, device: torch.device) -> QueryFunction:
        """The function with the given weights."""
        with torch.random.fork_rng(devices=[]):  # its initialisation draws random numbers
            net = query_network(channels=channels, n_classes=n_classes)
        net.load_state_dict(state)
        return QueryFunction(net=net.to(device).eval(), n_classes=n_classes)

    def top(self, images: Images, *, k1: int) -> NDArray[np.int64]:
        """Classes [n, k1], most likely first."""
        parts = [self.of(block, k1=k1) for block in images.blocks(BLOCK)]
        return np.concatenate(parts) if parts else np.empty((0, k1), np.int64)

    @torch.no_grad()
    def seen(self, x: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The last features [n, 256] before the classes, of images uint8 [n, C, H, W]."""
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # alike on every device
            found: NDArray[np.float32] = self.net[:-1](_unit(x, next(self.net.parameters()).device)).cpu().numpy()
        return found

    @torch.no_grad()
    def of(self, x: NDArray[np.uint8], *, k1: int) -> NDArray[np.int64]:
        """Classes [n, k1] of images uint8 [n, C, H, W], most likely first."""
        device = next(self.net.parameters()).device
        parts = [
            self.net(_unit(x[i : i + BLOCK], device)).topk(k1, dim=1).indices.cpu().numpy()
            for i in range(0, len(x), BLOCK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, k1), np.int64)


def ask(
    function: QueryFunction, sensitive: PrivateSet, *, k1: int, event: Event, entropy: Entropy
) -> Release[NDArray[np.float64]]:
    """The noisy histogram S~ [labels, public classes] and the event it cost (PrivImage, Algorithm 1)."""
    sensitive.must_be(event.split)
    S = np.zeros((len(sensitive.classes), function.n_classes), np.int64)
    for semantics in function.top(sensitive, k1=k1).T:
        np.add.at(S, (sensitive.y, semantics), 1)
    noisy = event.perturb(S, sensitivity=k1**0.5, stream=entropy.stream("histogram"))
    return Release(value=noisy, events=(event,))


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The selected public images: `index` into the public set, the sensitive `label` that chose each, `weight`s
    that sum to 1, and the `classes` [labels, k2] they come from."""

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]
    classes: NDArray[np.int64]


def select(histogram: NDArray[np.float64], public: PublicSet, *, k2: int) -> Selection:
    """The images of the k2 public classes with the largest noisy counts of every label; no class serves two labels.

    (label, class) pairs are taken by falling noisy count while the class is free and the label has room, so the
    order of the labels does not matter. Within a label classes weigh as their noisy counts; labels weigh the same.
    """
    classes: list[list[int]] = [[] for _ in histogram]
    taken: set[int] = set()
    for flat in np.argsort(-histogram, axis=None, kind="stable"):
        y, c = divmod(int(flat), histogram.shape[1])
        if c not in taken and len(classes[y]) < k2:
            classes[y].append(c)
            taken.add(c)
    chosen = np.array(classes)
    if chosen.shape != (len(histogram), k2):
        raise ValueError(f"k2 {k2}: there are only {histogram.shape[1]} public classes for {len(histogram)} labels")
    counts = np.take_along_axis(histogram, chosen, axis=1).clip(min=1.0)
    return _gather(public, chosen, counts)


def select_at_random(public: PublicSet, *, n_labels: int, k2: int, seed: int) -> Selection:
    """A control without any query: k2 random public classes for every label, disjoint, all weighted the same."""
    order = np.random.default_rng((seed, 3)).permutation(len(public.classes))
    classes = order[: n_labels * k2].reshape(n_labels, k2)
    return _gather(public, classes, np.ones(classes.shape))


def _gather(public: PublicSet, classes: NDArray[np.int64], counts: NDArray[np.float64]) -> Selection:
    members = [np.flatnonzero(public.y == c) for c in range(len(public.classes))]
    share = counts / counts.sum(axis=1, keepdims=True) / len(counts)
    index, label, weight = [], [], []
    for y, row in enumerate(classes):
        for c, w in zip(row, share[y], strict=True):
            index.append(members[c])
            label.append(np.full(len(members[c]), y))
            weight.append(np.full(len(members[c]), w / len(members[c])))
    return Selection(
        index=np.concatenate(index),
        label=np.concatenate(label),
        weight=np.concatenate(weight),
        classes=classes,
    )
