"""GS-WGAN: a generator that learns from noisy gradients of many discriminators. See `privimage.matching.sanitized`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from privimage.generators import Shape
from privimage.matching.config import SanitizedConfig
from privimage.methods.context import Context
from privimage.methods.declared import Ask
from privimage.methods.method import MethodConfig, Sizes, Synthetic
from privimage.methods.steps import StepsConfig, StepsMethod
from privimage.methods.timing import Effort


class SanitizedMethodConfig(StepsConfig):
    """Everything about how images are made."""

    sanitized: SanitizedConfig = SanitizedConfig()


class SanitizedMethod(StepsMethod):
    """See above."""

    config: ClassVar[type[MethodConfig]] = SanitizedMethodConfig
    part: ClassVar[str] = "sanitized"
    asks: ClassVar[Ask] = Ask(purpose="sanitized gradients", steps="sanitized.steps")
    trained: ClassVar[str] = (
        "It was trained with noisy gradients of discriminators, which were trained on the sensitive set `{sensitive}` "
        "and are not kept; no image of the public set `{public}` was trained on."
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


MEMBERS = {"gs-wgan": SanitizedMethod(what="a generator that learns from noisy gradients of discriminators of parts")}
