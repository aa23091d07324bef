"""What a file says of the noisy means, and their stages; free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from privimage.methods.declared import Stage
from privimage.query import QUERY_FUNCTION
from privimage.schema import Frozen
from privimage.shared_answer import stages_of

SeenBy = Literal["query", "efficientnet-lite0"]

MOST_DIRECTIONS = (128, 64)  # of the network's features, and of the low frequencies
LEAST_DIRECTIONS = 8
BLOCK = 500  # images that are looked at together


class MeansConfig(Frozen):
    """The noisy mean of public features of every label, and the public images that are chosen to meet it."""

    sigma: float | None = Field(default=None, ge=0.01, le=1e6)  # noise multiplier sigma_m; null: what the budget allows
    network: SeenBy | None = None  # whose features: query for grey glyphs; null: by the number of channels

    def seen_by(self, channels: int) -> SeenBy:
        """Whose features are taken of images with so many channels."""
        return self.network or ("query" if channels == 1 else "efficientnet-lite0")


ASKED = (
    Stage(kind="pool", fields=("means.network", "pool"), after=("query-function",)),
    *stages_of("means", purpose="means", sigma="means.sigma", fields=(), after=("pool",)),
)
STAGES = (QUERY_FUNCTION, *ASKED, Stage(kind="tilted", after=("pool", "means-derived")))
# Behind the stages of the query, where the noisy histogram is asked too.
COUNTED = (*ASKED, Stage(kind="tilted", after=("pool", "means-derived", "histogram-derived")))


def directions(*, n: int, labels: int, sigma: float) -> tuple[int, int]:
    """How many directions are asked of `n` images: of the network's features, and of the low frequencies.

    The noise in each entry of a mean is `sigma` over the number of images of a label. About as many directions as one
    over that are told apart: fewer would leave something out, more would be noise and make the clip norm larger.

    >>> directions(n=3600, labels=10, sigma=30.0), directions(n=3600, labels=10, sigma=0.5)
    ((12, 6), (128, 64))
    """
    told = round(n / labels / sigma)
    first, second = MOST_DIRECTIONS
    d = min(first, max(LEAST_DIRECTIONS, told))
    return d, min(second, d // 2)
