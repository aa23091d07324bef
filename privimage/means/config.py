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
FIRST_DIRECTIONS = (16, 8)  # the first block of each
BLOCK = 500  # images that are looked at together


def seen_by(named: SeenBy | None, channels: int) -> SeenBy:
    """The network that is named, or else that whose features suit images with so many channels."""
    return named or ("query" if channels == 1 else "efficientnet-lite0")


class MeansConfig(Frozen):
    """The noisy mean of public features of every label, and the public images that are chosen to meet it."""

    sigma: float | None = Field(default=None, ge=0.01, le=1e6)  # noise multiplier sigma_m; null: what the budget allows
    network: SeenBy | None = None  # whose features: query for grey glyphs; null: by the number of channels
    resembling: float = Field(default=0.5, ge=0, le=1)  # how likely a label resembles a public class; 0: none does
    distinct: float = Field(
        default=1.0, ge=0, le=10
    )  # how much less an image weighs that is as near to other labels, as far as noise hides what tells them apart

    def seen_by(self, channels: int) -> SeenBy:
        """Whose features are taken of images with so many channels."""
        return seen_by(self.network, channels)


ASKED = (
    Stage(kind="pool", fields=("means.network", "pool"), after=("query-function",)),
    *stages_of("means", purpose="means", sigma="means.sigma", fields=(), after=("pool",)),
)

NEARNESS = ("means.distinct", "means.resembling")  # 0 in what was made before they were


def _tilted(*after: str) -> Stage:
    return Stage(kind="tilted", fields=NEARNESS, since=dict.fromkeys(NEARNESS, 0.0), after=after)


STAGES = (QUERY_FUNCTION, *ASKED, _tilted("pool", "means-derived"))
# Behind the stages of the query, where the noisy histogram is asked too.
COUNTED = (*ASKED, _tilted("pool", "means-derived", "histogram-derived"))
