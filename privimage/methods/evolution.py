"""Private Evolution: a public generator's images that sensitive ones voted for, and variations of them.

    public images -> generator -> candidates <-> noisy votes, round by round -> the winners -> variations -> images

The generator is never trained on sensitive images. All rounds are one access: each image has one vote in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from privimage.errors import InputError
from privimage.evolution.config import EvolveConfig
from privimage.generators import Shape, sizes
from privimage.generators.config import AS_BEFORE, PretrainConfig, SampleConfig
from privimage.methods.config import ModelConfig
from privimage.methods.context import Context
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, MethodRole, Sizes, Synthetic
from privimage.methods.resolve import by_channels, unread
from privimage.methods.timing import Effort
from privimage.metrics.efficientnet import NAME, efficientnet_weights
from privimage.query import QUERY_FUNCTION, QueryConfig
from privimage.query_files import check_function

FIX = "lower method.pretrain.lr"
OTHERS = ("sample.detail_below", "sample.candidates")  # of drawing: of a generator with two sets of weights, of a GAN
UNREAD = (*OTHERS, "sample.start", "sample.start_at")  # by what draws from noise, or at levels of its own
PUBLIC_GENERATOR = Stage(
    kind="public-generator",
    fields=("model.size", "pretrain"),
    without=("pretrain.follow",),
    world=("public", "shape", "labels", "seed"),
    after=(),
    fix=FIX,
    share="pretrain",
)


class EvolutionConfig(MethodConfig):
    """Everything about how images are made, from the public generator to the last variations."""

    query: QueryConfig = QueryConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    evolve: EvolveConfig = EvolveConfig()
    sample: SampleConfig = SampleConfig()

    def settled(self, channels: int | None) -> MethodConfig:
        """See MethodConfig: whose features are taken."""
        settled = by_channels(self, {"evolve.network": self.evolve.seen_by}, channels)
        return unread(settled, network="evolve.network")


@dataclass(frozen=True, kw_only=True, eq=False)
class EvolutionMethod(Method):
    """See above."""

    what: str
    role: MethodRole = "rival"
    settings: Mapping[str, Any] = field(default_factory=dict)

    config: ClassVar[type[MethodConfig]] = EvolutionConfig
    releases: ClassVar[tuple[str, ...]] = ("model", "samples")
    trained: ClassVar[str] = (
        "It was trained on the public set `{public}`, and varies images of its own that noisy votes of the sensitive "
        "set `{sensitive}` chose; no image of that was trained on."
    )
    starts: ClassVar[str] = "Drawing starts from images that the public generator made and noisy votes chose"

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The public generator, the votes, and what follows from them."""
        return (
            QUERY_FUNCTION,
            PUBLIC_GENERATOR,
            Stage(  # of its own, so that a generator that draws no images is found out before votes are charged
                kind="candidates",
                fields=("evolve.first", "sample"),
                without=UNREAD,
                since=AS_BEFORE,
                world=("seed",),
                after=("public-generator",),
                fix=FIX,
                share="sample",
            ),
            Stage(
                kind="votes",
                fields=("evolve", "sample"),
                without=UNREAD,
                since=AS_BEFORE,
                world=("sensitive", "public", "seed", "draw"),
                asks=Ask(purpose="votes", steps="evolve.rounds"),
                fix=FIX,
                share="finetune",
            ),
            Stage(
                kind="model",
                fields=("sample",),
                without=OTHERS,
                since=AS_BEFORE,
                world=("public", "seed"),
                fix=FIX,
                share="sample",
            ),
            Stage(kind="samples", fields=("samples",), world=("seed",), fix=FIX, share="sample"),
        )

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        from privimage.methods.evolution_pipeline import (
            images,  # here, as it imports torch: what is declared needs none
        )

        return images(context)

    def effort(self, shape: Shape, n: float, n_public: float) -> Effort:
        """See Method."""
        from privimage.methods.evolution_effort import EvolutionEffort  # as above

        return EvolutionEffort(shape, n, n_public)

    def check(self, config: EvolutionConfig, of: Sizes) -> None:
        """The network that sees what is near is there."""
        if config.evolve.seen_by(of.shape[0] if of.shape else 1) == NAME:
            efficientnet_weights()  # or refused
        check_function(config.query.function, of.classes)

    def check_shape(self, config: EvolutionConfig, shape: Shape) -> None:
        """The generator fits the images and can vary them, and drawing starts from the winners."""
        sizes.check(config.model.size, shape)
        sizes.check_sampler(config.model.size, shape, config.sample)
        if not sizes.varies(config.model.size):
            allowed = ", ".join(name for name in sizes.DOOR.names() if sizes.varies(name))
            raise InputError(
                f"method.model.size: got {config.model.size}, which cannot vary an image, as {config.name} does; "
                f"allowed: {allowed}"
            )
        if config.sample.start != "anchors":
            raise InputError(
                f"method.sample.start: {config.name} draws from the images that were voted for; leave it at anchors"
            )


MEMBERS = {
    "pe": EvolutionMethod(
        what="images of a public generator that sensitive images voted for",
        settings={"sample.start": "anchors", "sample.steps": 8, "sample.guidance": 0.0},
    )
}
