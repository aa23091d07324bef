"""Public images as they are, without a generator: what a choice among them is worth.

    public images -> query or means -> chosen images -> a draw of them

A row of each choice beside the others says whether what was asked of the sensitive set chose well: the images that a
query names, those that meet means, as many of random classes, all of them, and those that the query left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from privimage.errors import InputError
from privimage.generators import Shape
from privimage.methods.config import DiffusionConfig
from privimage.methods.context import Context
from privimage.methods.declared import Stage
from privimage.methods.diffusion import DiffusionMethod
from privimage.methods.method import Sizes, Synthetic
from privimage.methods.timing import Effort


@dataclass(frozen=True, kw_only=True, eq=False)
class SubsetMethod(DiffusionMethod):
    """A choice among public images, as a diffusion method would be pre-trained on; `left`: those it does not choose."""

    left: bool = False

    releases: ClassVar[tuple[str, ...]] = ("samples", "selection", "tilted")
    starts: ClassVar[str] = "The images are public ones, unchanged or varied"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The choice and a draw."""
        chosen = (stage for stage in self._start() if stage.kind != "pretrained")
        left = (Stage(kind="left"),) if self.left else ()
        return (
            *chosen,
            *left,
            Stage(
                kind="samples",
                fields=("samples",),
                world=("public", "labels", "seed"),
                fix="look at data.public",
                share="sample",
            ),
        )

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        from privimage.methods.subsets_pipeline import SubsetPipeline  # here, as it imports torch

        return SubsetPipeline(self, context).images()

    def effort(self, shape: Shape, n: float, n_public: float) -> Effort:
        """See Method."""
        from privimage.methods.subsets_effort import SubsetEffort  # as above

        return SubsetEffort(shape, n, n_public)

    def check(self, config: DiffusionConfig, of: Sizes) -> None:
        """As above, and the query leaves some where those are what is drawn."""
        super().check(config, of)
        if self.left and config.select.k2(n_public=of.n_public, n_labels=of.n_labels) * of.n_labels >= of.n_public:
            raise InputError(
                f"method.select.ratio: got {config.select.ratio:g}, which selects all {of.n_public} public classes and "
                "leaves none; use less"
            )

    def check_shape(self, config: Any, shape: Shape) -> None:
        """There is no generator to fit."""


MEMBERS = {
    "selected-images": SubsetMethod(
        pretrain_on="selected",
        finetune="none",
        what="the selected public images themselves",
        role="ablation",
        lacks={"selection-only": "a generator"},
    ),
    "tilted-images": SubsetMethod(
        pretrain_on="tilted",
        finetune="none",
        what="the public images that meet the noisy means, and variations of them, themselves",
        role="ablation",
        lacks={"privimage+m": "a generator", "privimage+a": "a generator"},
    ),
    "random-images": SubsetMethod(
        pretrain_on="random",
        finetune="none",
        what="as many public images, of random classes",
        role="control",
        lacks={"selected-images": "asking"},
    ),
    "all-images": SubsetMethod(
        pretrain_on="public",
        finetune="none",
        what="all public images, each for any label",
        role="control",
        lacks={"selected-images": "a choice"},
    ),
    "unselected-images": SubsetMethod(
        pretrain_on="selected",
        finetune="none",
        left=True,
        what="the public images that the query did not select, each for any label",
        role="control",
        lacks={"selected-images": "choosing what the query names"},
    ),
}
