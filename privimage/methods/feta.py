"""DP-FETA: from easy to hard, a generator is shown the noisy mean image of every label, and then fine-tuned by DP-SGD.

noisy mean images -> variations of them -> pre-training -> DP-SGD -> images
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from privimage.errors import InputError
from privimage.matching.config import CENTRAL, CentralConfig
from privimage.methods.config import DiffusionConfig
from privimage.methods.context import Context
from privimage.methods.declared import Stage
from privimage.methods.diffusion import DiffusionMethod
from privimage.methods.method import MethodConfig, Sizes, Synthetic


class FetaConfig(DiffusionConfig):
    """As of a diffusion, with the mean images."""

    name: str = "dp-feta"
    central: CentralConfig = CentralConfig()


class FetaMethod(DiffusionMethod):
    """See above."""

    config: ClassVar[type[MethodConfig]] = FetaConfig
    releases: ClassVar[tuple[str, ...]] = ("model", "samples")
    trained: ClassVar[str] = (
        "It was trained on variations of noisy mean images of the sensitive set `{sensitive}`, then on that set with "
        "DP-SGD; no image of the public set `{public}` was trained on."
    )

    def _start(self) -> tuple[Stage, ...]:
        return (
            *CENTRAL,
            Stage(
                kind="pretrained",
                fields=("model.size", "pretrain", "pool"),
                without=self.without,
                world=("shape", "labels", "seed"),
                fix="lower method.pretrain.lr",
                share="pretrain",
            ),
        )

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        from privimage.methods.feta_pipeline import FetaPipeline  # here, as it imports torch: what is declared does not

        return FetaPipeline(self, context).images()

    def ask(self, context: Context) -> None:
        """See Method."""
        from privimage.matching.stages import central  # as above

        central(context)

    def check(self, config: DiffusionConfig, of: Sizes) -> None:
        """Images start from noise."""
        if config.sample.start == "anchors":
            raise InputError(f"method.sample.start: anchors: {config.name} has no public images of a label; use noise")

    def warnings(self, configs: Sequence[DiffusionConfig], of: Sizes) -> list[str]:
        """A line if the largest noise hides a mean: where that of a sum is above what the images of a label add."""
        found = (c.central.sigma for c in configs if isinstance(c, FetaConfig))
        most, each = max(found, default=0.0), of.n_train / of.n_labels
        if most * 4 <= each:
            return []
        return [
            f"method.central.sigma: noise of up to {most:g} in every coefficient hides mean images of about {each:.0f} "
            f"images; keep it below {each / 4:.2g}"
        ]


MEMBERS = {
    "dp-feta": FetaMethod(
        pretrain_on="central",
        what="pre-trained on noisy mean images, then DP-SGD",
        role="rival",
        settings={
            "pool.views": 100,
            "pretrain.images": 120_000,
            "sample.guidance": 0.0,
            "sample.detail_below": 0.0,
        },
    )
}
