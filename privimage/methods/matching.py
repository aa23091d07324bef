"""Methods that ask for noisy mean embeddings and train a generator to meet them: DP-MERF and DP-MEPF.

    noisy mean of phi and count of every label -> a generator whose images have these means -> images

One Gaussian over the whole matrix [labels, features and count]; all behind it is post-processing. The papers divide by
the number of images, which they take as public, and replace one: then a mean moves by 2 / n. Here an image is added or
removed, so what is asked is the sum, which moves by 1 at most, with the count of every label beside it; it is divided
by that noisy count, drawn to an even share of the public n where noise hides it (`privimage.means.answer`). So labels
need not be balanced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field

from privimage.generators import Shape, sizes
from privimage.matching.config import ASKED, FourierConfig, MatchConfig
from privimage.means.config import MeansConfig
from privimage.methods.config import ModelConfig
from privimage.methods.context import Context
from privimage.methods.declared import Stage
from privimage.methods.method import Method, MethodConfig, MethodRole, Sizes, Synthetic
from privimage.methods.resolve import by_channels, unread
from privimage.methods.timing import Effort
from privimage.metrics.efficientnet import NAME, efficientnet_weights
from privimage.query import QueryConfig
from privimage.query_files import check_function


class MatchingConfig(MethodConfig):
    """Everything about how images are made, from the features to the generator."""

    query: QueryConfig = QueryConfig()
    means: MeansConfig = MeansConfig()
    fourier: FourierConfig = FourierConfig()
    moments: int = Field(default=2, ge=1, le=2)  # moments of perceptual features: 1, or 2 with their squares
    model: ModelConfig = ModelConfig()
    match: MatchConfig = MatchConfig()

    def settled(self, channels: int | None) -> MethodConfig:
        """See MethodConfig: whose features are taken."""
        settled = by_channels(self, {"means.network": self.means.seen_by}, channels)
        return unread(settled, network="means.network")


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchingMethod(Method):
    """A method of this kind, by the features whose means are asked."""

    what: str
    features: Literal["fourier", "perceptual", "ntk", "characteristic"]
    role: MethodRole = "rival"
    fields: tuple[str, ...] = ()  # of the generator, beside those of all
    settings: Mapping[str, Any] = field(default_factory=dict)

    config: ClassVar[type[MethodConfig]] = MatchingConfig
    releases: ClassVar[tuple[str, ...]] = ("model", "samples")
    trained: ClassVar[str] = (
        "It was trained to meet noisy means of features of the sensitive set `{sensitive}`; no image of that, nor of "
        "the public set `{public}`, was trained on."
    )

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """What is asked, then the generator and its images."""
        return (
            *ASKED[self.features],
            Stage(
                kind="model",
                fields=("model.size", "match", *self.fields),
                world=("shape", "labels", "seed"),
                fix="lower method.match.lr",
                share="pretrain",
            ),
            Stage(kind="samples", fields=("samples",), world=("seed",), fix="lower method.match.lr", share="sample"),
        )

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        from privimage.methods.matching_pipeline import images  # here, as it imports torch: what is declared needs none

        return images(self.features, context)

    def ask(self, context: Context) -> None:
        """See Method."""
        from privimage.matching.stages import ASK  # as above

        ASK[self.features](context)

    def effort(self, shape: Shape, n: float, n_public: float) -> Effort:
        """See Method."""
        from privimage.methods.matching_effort import MatchingEffort  # as above

        return MatchingEffort(shape, n)

    def check(self, config: MatchingConfig, of: Sizes) -> None:
        """The network that sees features is there."""
        if self.features == "perceptual" and config.means.seen_by(of.shape[0] if of.shape else 1) == NAME:
            efficientnet_weights()  # or refused
        if self.features == "perceptual":
            check_function(config.query.function, of.classes)

    def check_shape(self, config: MatchingConfig, shape: Shape) -> None:
        """The generator fits the images, and its images have a gradient."""
        sizes.check_one_step(config.model.size, shape, method=config.name)


def trained_for(steps: int) -> dict[str, Any]:
    """Settings of a method whose generator is trained so long: as long as suits it, as steps cost no privacy."""
    return {"model.size": sizes.ONE_STEP, "match.steps": steps}


MEMBERS = {  # steps: found on public data (docs/rivals.md)
    "dp-merf": MatchingMethod(
        features="fourier",
        what="a generator that meets noisy means of random features of pixels",
        settings=trained_for(6000),
    ),
    "dp-mepf": MatchingMethod(
        features="perceptual",
        what="a generator that meets noisy means of what a public network sees",
        settings=trained_for(1500),
    ),
}
