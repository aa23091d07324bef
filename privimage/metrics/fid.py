"""FID: the Frechet distance between features of the synthetic images and of the real test split.

It is biased upwards for few images: compare only at equal n.
"""

from __future__ import annotations

from pathlib import Path

from privimage.metrics.context import Context
from privimage.metrics.metric import Family
from privimage.metrics.variants import NETWORKS


class Fid(Family):
    """fid[NETWORK], at least 0. The statistics of the real images are computed once a set."""

    what = "Frechet distance of features"
    direction = "min"
    variants = NETWORKS
    reads = ("test",)

    def check(self, variant: str, *, weights: Path | None) -> None:
        """Load the network once. Raises InputError if its package or its weights are missing."""
        from privimage.metrics import features

        features.check(variant, weights=weights)

    def measure(self, variant: str, context: Context) -> float:
        """The distance."""
        from privimage.metrics.frechet import Statistics, distance  # here, as it imports torch

        kept = context.kept(
            "test",
            {"metric": "fid", "network": variant},
            lambda: Statistics.of(context.real_features("test", variant)).arrays,
        )
        made = Statistics.of(context.features(variant))
        return distance(Statistics.from_arrays(kept), made, device=context.device)


MEMBERS = {"fid": Fid()}
