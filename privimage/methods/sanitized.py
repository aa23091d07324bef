"""GS-WGAN: a generator that learns from noisy gradients of many discriminators. See `privimage.matching.sanitized`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from privimage.generators import Shape, sizes
from privimage.matching.config import SanitizedConfig
from privimage.methods.config import ModelConfig
from privimage.methods.context import Context
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, MethodRole, Sizes, Synthetic
from privimage.methods.timing import Effort

FIX = "lower method.sanitized.lr"


class SanitizedMethodConfig(MethodConfig):
    """Everything about how images are made."""

    model: ModelConfig = ModelConfig()
    sanitized: SanitizedConfig = SanitizedConfig()


@dataclass(frozen=True, kw_only=True, eq=False)
class SanitizedMethod(Method):
    """See above."""

    what: str
    role: MethodRole = "rival"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"model.size": sizes.ONE_STEP})

    config: ClassVar[type[MethodConfig]] = SanitizedMethodConfig
    releases: ClassVar[tuple[str, ...]] = ("model", "samples")
    trained: ClassVar[str] = (
        "It was trained with noisy gradients of discriminators, which were trained on the sensitive set `{sensitive}` "
        "and are not kept; no image of the public set `{public}` was trained on."
    )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The training, its weights, the images."""
        return (
            Stage(
                kind="generator",
                fields=("model.size", "sanitized"),
                world=("sensitive", "shape", "labels", "seed", "draw"),
                asks=Ask(purpose="sanitized gradients", steps="sanitized.steps"),
                fix=FIX,
            ),
            Stage(kind="model", fix=FIX),
            Stage(kind="samples", fields=("samples",), world=("seed",), fix=FIX),
        )

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        from privimage.methods.sanitized_pipeline import images  # here, as it imports torch

        return images(context)

    def effort(self, shape: Shape, n: float, n_public: float) -> Effort:
        """See Method."""
        from privimage.methods.sanitized_effort import SANITIZED  # as above
        from privimage.methods.steps_effort import StepsEffort

        return StepsEffort(SANITIZED, shape, n)

    def warnings(self, configs: Sequence[SanitizedMethodConfig], of: Sizes) -> list[str]:
        """More parts than images."""
        most = max(config.sanitized.parts for config in configs)
        if most <= of.n_train:
            return []
        return [f"method.sanitized.parts: {most} parts of {of.n_train} images: many have none; take fewer"]

    def check_shape(self, config: SanitizedMethodConfig, shape: Shape) -> None:
        """The generator fits the images, and its images have a gradient."""
        sizes.check_one_step(config.model.size, shape, method=config.name)


MEMBERS = {"gs-wgan": SanitizedMethod(what="a generator that learns from noisy gradients of discriminators of parts")}
