"""FeatureDistance: what families share that take features of a network, most of them beside those of real images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from privimage.metrics.context import MetricContext
from privimage.metrics.efficientnet import efficientnet_weights
from privimage.metrics.metric import Family
from privimage.metrics.variants import NETWORKS
from privimage.metrics.weights import inception_weights
from privimage.privacy.looks import Part


class OfFeatures(Family):
    """NAME[NETWORK]."""

    variants = NETWORKS

    def check(self, variant: str, *, weights: Path | None) -> None:
        """Raise InputError if the network's package or its weights are missing, or others."""
        if variant == "inception":
            inception_weights(weights)
        else:
            efficientnet_weights()


class FeatureDistance(OfFeatures):
    """NAME[NETWORK], smaller is better. What is made of the real images is computed once a set."""

    direction = "min"
    reads: ClassVar[tuple[Part, ...]] = ("test",)


def kept_features(context: MetricContext, network: str) -> NDArray[np.float32]:
    """Features [n, d] of the real test split, computed once for all trials and metrics on the set."""
    what = {"metric": "features", "network": network}
    return context.kept("test", what, lambda: {"features": context.real_features("test", network)})["features"]
