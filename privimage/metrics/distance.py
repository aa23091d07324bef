"""FeatureDistance: what families share that compare features of synthetic images with those of the real test split."""

from __future__ import annotations

from pathlib import Path

from privimage.metrics.metric import Family
from privimage.metrics.variants import NETWORKS


class FeatureDistance(Family):
    """NAME[NETWORK], smaller is better. What is made of the real images is computed once a set."""

    direction = "min"
    variants = NETWORKS
    reads = ("test",)

    def check(self, variant: str, *, weights: Path | None) -> None:
        """Load the network once. Raises InputError if its package or its weights are missing."""
        from privimage.metrics import features  # here, as it imports torch

        features.check(variant, weights=weights)
