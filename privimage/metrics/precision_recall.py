"""Precision and recall: which part of the synthetic images lies among the real ones, and the other way round.

Around every image of one side there is a ball that just holds its NEIGHBOURS nearest of that side; precision is the
share of synthetic images in some ball of a real one, recall the share of real images in some ball of a synthetic one
(Kynkaanniemi et al. 2019). By torch-fidelity. With few images the balls are large and both come out high: compare at
equal numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privimage.errors import InputError
from privimage.metrics.context import MetricContext
from privimage.metrics.distance import OfFeatures, kept_features

NEIGHBOURS = 3


def precision_recall(made: NDArray[np.floating], real: NDArray[np.floating]) -> tuple[float, float]:
    """Both shares, from features [n, d] and [m, d]. Raises InputError if they are not finite."""
    import torch

    from privimage.data.torchvision_shim import import_torchvision

    import_torchvision()  # torch_fidelity imports torchvision
    from torch_fidelity.metric_prc import calculate_precision_recall_part

    if not (np.isfinite(made).all() and np.isfinite(real).all()):
        raise InputError("precision, recall: features are not finite")
    both = (torch.from_numpy(side.astype(np.float64)) for side in (made, real))  # in float32 equal images are apart
    precision, recall = calculate_precision_recall_part(*both, neighborhood=NEIGHBOURS, batch_size=1000)
    return float(precision), float(recall)


class _OfBalls(OfFeatures):
    """A share, larger is better. The features of the real images are computed once a set."""

    direction = "max"
    reads = ("test",)
    least = NEIGHBOURS + 1

    @staticmethod
    def both(variant: str, context: MetricContext) -> tuple[float, float]:
        """Precision and recall."""
        return precision_recall(context.features(variant), kept_features(context, variant))


class ImagePrecision(_OfBalls):
    """precision[NETWORK], in [0, 1]."""

    what = "share of the synthetic images that lie among the real ones"

    def measure(self, variant: str, context: MetricContext) -> float:
        """The share."""
        return self.both(variant, context)[0]


class ImageRecall(_OfBalls):
    """recall[NETWORK], in [0, 1]."""

    what = "share of the real images that lie among the synthetic ones"

    def measure(self, variant: str, context: MetricContext) -> float:
        """The share."""
        return self.both(variant, context)[1]


MEMBERS = {"precision": ImagePrecision(), "recall": ImageRecall()}
