"""FeatureDistance: what families share that compare features of synthetic images with those of the real test split."""

from __future__ import annotations

from pathlib import Path

from privimage.metrics.efficientnet import efficientnet_weights
from privimage.metrics.metric import Family
from privimage.metrics.variants import NETWORKS
from privimage.metrics.weights import inception_weights


class FeatureDistance(Family):
    """NAME[NETWORK], smaller is better. What is made of the real images is computed once a set."""

    direction = "min"
    variants = NETWORKS
    reads = ("test",)

    def check(self, variant: str, *, weights: Path | None) -> None:
        """Raise InputError if the network's package or its weights are missing, or others."""
        if variant == "inception":
            inception_weights(weights)
        else:
            efficientnet_weights()
