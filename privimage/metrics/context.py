"""Context: what a metric is given to measure. Real images only by split, and only where something allows to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from privimage.data.sets import Images, PrivateSet
from privimage.errors import InputError, Violation
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Part, Seen, may_read

if TYPE_CHECKING:
    import torch

Arrays = Mapping[str, NDArray[Any]]
Keep = Callable[[Mapping[str, Any], Callable[[], Arrays]], Arrays]  # (what determines them, how) -> the arrays
Top = Callable[[NDArray[np.uint8] | Images, int], NDArray[np.int64]]  # (images, k1) -> public classes [n, k1]


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """Synthetic images `x` uint8 [n, C, H, W] with labels `y` [n], and what else a metric may use.

    `source` is what the images are: "private-train" for real ones in their place. `stand_in`: the splits are public.
    `event` and `entropy` are for a noisy score alone, which it noises with. `weights`: see Features.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    splits: Mapping[Part, PrivateSet] = field(repr=False)
    names: tuple[str, ...] | None = None  # of the labels, where there is no split that says them
    source: Literal["synthetic", "private-train"] = "synthetic"
    stand_in: bool = False
    by: Mapping[Part, Event | Seen] = field(default_factory=dict)
    event: Event | None = None
    entropy: Entropy | None = None
    keep: Keep | None = None
    query: Top | None = None
    device: str | torch.device = "cpu"
    weights: Path | None = None
    _features: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels, which are public."""
        return next(iter(self.splits.values())).classes if self.names is None else self.names

    def only(self, by: Mapping[Part, Event | Seen], **values: Any) -> MetricContext:
        """The same without every split but those that something allows to read, with some fields replaced."""
        splits = {split: self.splits[split] for split in by}
        return replace(self, by=by, splits=splits, names=self.classes, **values)

    def real(self, split: Part) -> PrivateSet:
        """That split of the sensitive set. Raises Violation if the metric did not declare that it reads it."""
        if split not in self.splits:
            raise Violation(f"the {split} split would be read without noise, and no line of the ledger says so")
        images = self.splits[split]
        images.must_be(split)
        may_read(images, self.by.get(split))
        return images

    def features(self, network: str) -> NDArray[np.float32]:
        """Features [n, d] of the synthetic images by a network of `privimage.metrics.features`, computed once."""
        if network not in self._features:
            self._features[network] = self._embed(self.x, network)
        return self._features[network]

    def logits(self, network: str) -> NDArray[np.float64]:
        """What the network's own classifier makes of `features`: [n, its classes], before the softmax."""
        from privimage.metrics.features import classified  # here, as it imports torch

        return classified(self.features(network), network=network, weights=self.weights)

    def real_features(self, split: Part, network: str) -> NDArray[np.float32]:
        """Features [n, d] of a split that the metric reads. What is made of them can be `kept`."""
        return self._embed(self.real(split), network)

    def _embed(self, x: NDArray[np.uint8] | Images, network: str) -> NDArray[np.float32]:
        from privimage.metrics.features import features  # here, as it imports torch

        return features(x, network=network, device=self.device, weights=self.weights)

    def kept(self, split: Part, what: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """What `compute` returns, once for all trials on the set; it stays inside the run folder (`internal`).

        It must follow from that split and from `what`, plain values that name the metric and its settings.
        """
        self.real(split)
        return compute() if self.keep is None else self.keep({**what, "split": split}, compute)

    def top(self, x: NDArray[np.uint8] | Images, *, k1: int = 1) -> NDArray[np.int64]:
        """The k1 public classes [n, k1] that the query function sees in images, most likely first.

        Raises InputError if the method has no query function.
        """
        if self.query is None:
            raise InputError("metrics: one of them needs the query function, and this method trains none")
        return self.query(x, k1)

    @property
    def noise(self) -> tuple[Event, Entropy]:
        """The event of a noisy score and what keys its noise. Raises Violation in any other metric."""
        if self.event is None or self.entropy is None:
            raise Violation("a metric that declares no noise asked for some")
        return self.event, self.entropy
