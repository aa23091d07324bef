"""Inception score: how sure a classifier of ImageNet is of single images, and how unsure of all of them together.

    exp mean KL(p(y | x) || p(y)), the mean over ten parts of the images in a random order      (Salimans et al. 2016)

From 1 to the number of its classes. It knows no real image: of digits it says little, of photographs more. By
torch-fidelity, with its order.
"""

from __future__ import annotations

from privimage.metrics.context import MetricContext
from privimage.metrics.distance import OfFeatures

PARTS, SEED = 10, 2020  # torch-fidelity's


class InceptionScore(OfFeatures):
    """inception-score[NETWORK], at least 1."""

    what = "exponential of the mutual information of images and the network's classes"
    direction = "max"
    least = PARTS

    def measure(self, variant: str, context: MetricContext) -> float:
        """The score."""
        import torch

        from privimage.data.torchvision_shim import import_torchvision

        import_torchvision()  # torch_fidelity imports torchvision
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

        found = isc_features_to_metric(torch.from_numpy(context.logits(variant)), PARTS, True, SEED)
        return float(found[KEY_METRIC_ISC_MEAN])


MEMBERS = {"inception-score": InceptionScore()}
