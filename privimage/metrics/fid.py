"""FID: the Frechet distance between features of the synthetic images and of the real test split.

It is biased upwards for few images: compare only at equal n.
"""

from __future__ import annotations

from privimage.metrics.context import MetricContext
from privimage.metrics.distance import FeatureDistance


class Fid(FeatureDistance):
    """fid[NETWORK], at least 0. The statistics of the real images are computed once a set."""

    what = "Frechet distance of features"

    def measure(self, variant: str, context: MetricContext) -> float:
        """The distance."""
        from privimage.metrics.frechet import Statistics, distance  # here, as it imports torch

        (split,) = self.reads
        kept = context.kept(
            split,
            {"metric": "fid", "network": variant},
            lambda: Statistics.of(context.real_features(split, variant)).arrays,
        )
        made = Statistics.of(context.features(variant)[: self.most])
        return distance(Statistics.from_arrays(kept), made, device=context.device)


MEMBERS = {"fid": Fid()}
