"""Methods whose generator asks in every step of its training: DP-Kernel, GS-WGAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from privimage.generators import Shape, sizes
from privimage.methods.config import ModelConfig
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, MethodRole


class StepsConfig(MethodConfig):
    """Everything about how images are made, but how the training asks."""

    model: ModelConfig = ModelConfig()


@dataclass(frozen=True, kw_only=True, eq=False)
class StepsMethod(Method):
    """A method of this kind. `part` is the field that says how its training goes, `asks` what it asks."""

    what: str
    role: MethodRole = "rival"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"model.size": sizes.ONE_STEP})

    part: ClassVar[str]
    asks: ClassVar[Ask]
    releases: ClassVar[tuple[str, ...]] = ("model", "samples")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The training, its weights, the images."""
        fix = f"lower method.{self.part}.lr"
        return (
            Stage(
                kind="generator",
                fields=("model.size", self.part),
                world=("sensitive", "shape", "labels", "seed", "draw"),
                asks=self.asks,
                fix=fix,
                share="finetune",
            ),
            Stage(kind="model", fix=fix, share="sample"),
            Stage(kind="samples", fields=("samples",), world=("seed",), fix=fix, share="sample"),
        )

    def check_shape(self, config: StepsConfig, shape: Shape) -> None:
        """The generator fits the images, and its images have a gradient."""
        sizes.check_one_step(config.model.size, shape, method=config.name)
