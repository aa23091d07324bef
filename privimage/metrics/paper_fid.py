"""The FID of the paper: 5,000 synthetic images against the training split, which no other metric reads.

It takes memorised images for good ones: a copy of the training split is at distance 0. And it is read, without noise,
from the very images that a guarantee protects: a look in the ledger, and nothing that may steer a search.
"""

from __future__ import annotations

from privimage.metrics.context import MetricContext
from privimage.metrics.distance import FeatureDistance


class PaperFid(FeatureDistance):
    """paper-fid[NETWORK], at least 0: of the first 5,000 images, or of all where there are fewer."""

    what = "Frechet distance of features, to the training images"
    reads = ("train",)
    most = 5000

    def measure(self, variant: str, context: MetricContext) -> float:
        """The distance."""
        from privimage.metrics.frechet import Statistics, distance  # here, as it imports torch

        kept = context.kept(
            "train",
            {"metric": "fid", "network": variant},
            lambda: Statistics.of(context.real_features("train", variant)).arrays,
        )
        made = Statistics.of(context.features(variant)[: self.most])
        return distance(Statistics.from_arrays(kept), made, device=context.device)


MEMBERS = {"paper-fid": PaperFid()}
