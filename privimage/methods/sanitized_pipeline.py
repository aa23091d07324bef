"""The images of a trial of GS-WGAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from privimage.generators.generator import OneStep
from privimage.matching.sanitized import train
from privimage.methods import steps_pipeline
from privimage.methods.method import Synthetic
from privimage.privacy.budget import Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell

if TYPE_CHECKING:
    from privimage.methods.context import Context


def images(context: Context) -> Synthetic:
    """The synthetic images, with every stage before them computed or found."""

    def train_it(generator: OneStep, entropy: Entropy, progress: Tell) -> Release[dict[str, Tensor]]:
        return train(
            generator,
            context.sensitive.train,
            config=context.config.sanitized,
            event=context.events["generator"],
            entropy=entropy,
            seed=context.seed,
            device=context.stages.workers.device,
            progress=progress,
        )

    return steps_pipeline.images(context, train_it)
