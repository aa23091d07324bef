"""The images of a trial of DP-Kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from privimage.generators.generator import OneStep
from privimage.matching.kernel import train
from privimage.methods import steps_pipeline
from privimage.methods.method import Synthetic
from privimage.privacy.budget import Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell

if TYPE_CHECKING:
    from privimage.methods.context import Context


def images(context: Context) -> Synthetic:
    """The synthetic images, with every stage before them computed or found."""
    stages, inputs = context.stages, context.inputs

    def train_it(generator: OneStep, entropy: Entropy, progress: Tell) -> Release[dict[str, Tensor]]:
        return train(
            generator,
            context.sensitive.train,
            config=context.config.kernel,
            event=context.events["generator"],
            entropy=entropy,
            seed=context.seed,
            device=stages.workers.device,
            progress=progress,
            checkpoint=stages.checkpoint("generator", inputs.of("generator"), entropy=entropy),
        )

    return steps_pipeline.images(context, train_it)
