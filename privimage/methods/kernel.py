"""DP-Kernel: a generator that meets noisy mean embeddings of batches, step by step. See `privimage.matching.kernel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from privimage.generators import Shape, sizes
from privimage.matching.config import KernelConfig
from privimage.methods.config import ModelConfig
from privimage.methods.context import Context
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, MethodRole, Synthetic
from privimage.methods.timing import Effort

FIX = "lower method.kernel.lr"


class KernelMethodConfig(MethodConfig):
    """Everything about how images are made."""

    model: ModelConfig = ModelConfig()
    kernel: KernelConfig = KernelConfig()


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelMethod(Method):
    """See above."""

    what: str
    role: MethodRole = "rival"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"model.size": sizes.ONE_STEP})

    config: ClassVar[type[MethodConfig]] = KernelMethodConfig
    releases: ClassVar[tuple[str, ...]] = ("model", "samples")
    trained: ClassVar[str] = (
        "It was trained to meet noisy mean embeddings of batches of the sensitive set `{sensitive}`; no image of the "
        "public set `{public}` was trained on."
    )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The training, its weights, the images."""
        return (
            Stage(
                kind="generator",
                fields=("model.size", "kernel"),
                world=("sensitive", "shape", "labels", "seed", "draw"),
                asks=Ask(purpose="kernel means", q="kernel.q", steps="kernel.steps"),
                fix=FIX,
            ),
            Stage(kind="model", fix=FIX),
            Stage(kind="samples", fields=("samples",), world=("seed",), fix=FIX),
        )

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        from privimage.methods.kernel_pipeline import images  # here, as it imports torch: what is declared needs none

        return images(context)

    def effort(self, shape: Shape, n: float, n_public: float) -> Effort:
        """See Method."""
        from privimage.methods.kernel_effort import KERNEL  # as above
        from privimage.methods.steps_effort import StepsEffort

        return StepsEffort(KERNEL, shape, n)

    def check_shape(self, config: KernelMethodConfig, shape: Shape) -> None:
        """The generator fits the images, and its images have a gradient."""
        sizes.check_one_step(config.model.size, shape, method=config.name)


MEMBERS = {
    "dp-kernel": KernelMethod(what="a generator that meets noisy mean embeddings of batches in kernels drawn anew")
}
