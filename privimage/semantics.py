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
from torch import Tensor

from privimage.data.keywords import members_of
from privimage.data.placed import placed
from privimage.data.sets import Images, PrivateSet, PublicSet
from privimage.device import tf32
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.query import QueryNetwork
from privimage.query_network import Residual, Small, is_published, query_network
from privimage.query_training import floats

BLOCK = 500  # images at a time


@dataclass(frozen=True, kw_only=True)
class QueryFunction:
    """The trained query function: the top-k1 public classes of an image."""

    net: Small | Residual
    n_classes: int

    @staticmethod
    def load(
        state: dict[str, Tensor], *, channels: int, n_classes: int, device: torch.device, network: QueryNetwork = "cnn"
    ) -> QueryFunction:
        """The function with the given weights."""
        with torch.random.fork_rng(devices=[]):  # its initialisation draws random numbers
            net = query_network(network, channels=channels, n_classes=n_classes, published=is_published(state))
        net.load_state_dict(state)
        return QueryFunction(net=net.to(device).eval(), n_classes=n_classes)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.net.parameters()).device

    @torch.no_grad()
    def top(self, images: Images, *, k1: int) -> NDArray[np.int64]:
        """Classes [n, k1], most likely first."""
        found = np.empty((len(images), k1), np.int64)
        for batch in placed(images):
            found[batch.index] = self._top(batch.x, k1).cpu().numpy()[batch.row]
        return found

    @torch.no_grad()
    def counts(self, images: Images, *, k1: int, labels: int) -> NDArray[np.int64]:
        """How many of the images of each label name each class among their top k1: [labels, classes].

        One pass, one batch in memory, counted on the device in whole numbers. What an image names follows from itself.
        """
        S = torch.zeros(labels * self.n_classes, dtype=torch.int64, device=self.device)
        for batch in placed(images):
            y, row = (torch.from_numpy(a).to(self.device) for a in (images.y[batch.index], batch.row))
            cells = (y[:, None] * self.n_classes + self._top(batch.x, k1)[row]).flatten()
            S.scatter_add_(0, cells, torch.ones_like(cells))
        counted: NDArray[np.int64] = S.view(labels, self.n_classes).cpu().numpy()
        return counted

    @torch.no_grad()
    def seen(self, x: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The last features [n, D] before the classes, of images uint8 [n, C, H, W]."""
        with tf32(False):  # alike on every device
            found: NDArray[np.float32] = self.net.seen(floats(x, self.device)).cpu().numpy()
        return found

    @torch.no_grad()
    def of(self, x: NDArray[np.uint8], *, k1: int) -> NDArray[np.int64]:
        """Classes [n, k1] of images uint8 [n, C, H, W], most likely first."""
        parts = [self._top(x[i : i + BLOCK], k1).cpu().numpy() for i in range(0, len(x), BLOCK)]
        return np.concatenate(parts) if parts else np.empty((0, k1), np.int64)

    def _top(self, x: NDArray[np.uint8], k1: int) -> Tensor:
        """Different classes [n, k1] of a batch of images, most likely first."""
        with tf32(False):  # alike on every device
            logits: Tensor = self.net(floats(x, self.device))
        return logits.topk(k1, dim=1).indices


def ask(
    function: QueryFunction, sensitive: PrivateSet, *, k1: int, event: Event, entropy: Entropy
) -> Release[NDArray[np.float64]]:
    """The noisy histogram S~ [labels, public classes] and the event it cost (PrivImage, Algorithm 1)."""
    sensitive.must_be(event.split)
    S = function.counts(sensitive, k1=k1, labels=len(sensitive.classes))
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
    """The images of the k2 public classes with the largest noisy counts of every label; no class serves two labels,
    but an image of several classes may.

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
    """All images of these classes; one that has several of a label's is there once, with the sum of their weights."""
    members = members_of(public)
    share = counts / counts.sum(axis=1, keepdims=True) / len(counts)
    index = np.concatenate([members[c] for c in classes.flat])
    many = [len(members[c]) for c in classes.flat]
    label = np.repeat(np.repeat(np.arange(len(classes)), classes.shape[1]), many)
    weight = np.repeat(share.ravel() / many, many)
    _, first, place = np.unique(label * len(public) + index, return_index=True, return_inverse=True)
    if len(first) < len(index):
        weight = np.bincount(place, weights=weight)
        index, label = index[first], label[first]
    return Selection(index=index, label=label, weight=weight, classes=classes)
