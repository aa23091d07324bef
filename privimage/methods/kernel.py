"""DP-Kernel: a generator that meets noisy mean embeddings of batches, step by step. See `privimage.matching.kernel`."""

from __future__ import annotations

from typing import ClassVar

from privimage.generators import Shape
from privimage.matching.config import KernelConfig
from privimage.methods.context import Context
from privimage.methods.declared import Ask
from privimage.methods.method import MethodConfig, Synthetic
from privimage.methods.steps import StepsConfig, StepsMethod
from privimage.methods.timing import Effort


class KernelMethodConfig(StepsConfig):
    """Everything about how images are made."""

    kernel: KernelConfig = KernelConfig()


class KernelMethod(StepsMethod):
    """See above."""

    config: ClassVar[type[MethodConfig]] = KernelMethodConfig
    part: ClassVar[str] = "kernel"
    asks: ClassVar[Ask] = Ask(purpose="kernel means", q="kernel.q", steps="kernel.steps")
    trained: ClassVar[str] = (
        "It was trained to meet noisy mean embeddings of batches of the sensitive set `{sensitive}`; no image of the "
        "public set `{public}` was trained on."
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


MEMBERS = {
    "dp-kernel": KernelMethod(what="a generator that meets noisy mean embeddings of batches in kernels drawn anew")
}
