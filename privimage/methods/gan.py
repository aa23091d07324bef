"""PrivImage with a GAN, and the rows that the paper compares it with, on the pipeline of `diffusion`.

DP-SGD trains the discriminator; the generator learns from it. What guides, starts or refines a diffusion has no
meaning here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from privimage.generators import sizes
from privimage.methods.diffusion import DiffusionMethod

TRAINED: dict[str, Any] = {
    "model.size": sizes.ADVERSARIAL,
    "finetune.K": 1,
    "finetune.C": 0.1,
    "finetune.follow.batch": 32,
}
PRETRAINED: dict[str, Any] = {"pretrain.images": 64_000, "pretrain.batch": 32, "pretrain.follow.batch": 32}
JUDGING: dict[str, Any] = {  # on from weights that draw well: of the discriminator what judges, alone
    "finetune.trainable": "attention",
    "finetune.steps": 50,
    "finetune.follow.times": 2,
    "finetune.follow.lr": 1e-4,
}
LABELLED: dict[str, Any] = {"finetune.lr": 0.01, "finetune.momentum": 0.5}  # labels are known already
UNLABELLED: dict[str, Any] = {"finetune.lr": 0.1, "sample.candidates": 32}  # the discriminator learns them, and chooses
FROM_SCRATCH: dict[str, Any] = {
    "model.size": sizes.FEW_KINDS,
    "finetune.lr": 0.02,
    "finetune.momentum": 0.5,
    "finetune.steps": 50,
    "finetune.follow.times": 4,
    "finetune.follow.lr": 5e-4,
    "sample.candidates": 8,
}
PLAINLY: dict[str, Any] = {
    "model.size": sizes.ADVERSARIAL,
    "finetune.K": 1,
    "finetune.optimizer": "adam",
    "finetune.lr": 1e-3,
    "finetune.momentum": 0.5,
    "finetune.q": 0.012,
    "finetune.steps": 1000,
    "finetune.follow.batch": 32,
}


class GanMethod(DiffusionMethod):
    """A row of the paper's table with a GAN. Its settings were found on public data (docs/gan.md)."""

    adversarial: ClassVar[bool] = True
    without: ClassVar[tuple[str, ...]] = ("pretrain.label_dropout", "finetune.label_dropout", "finetune.P_mean")
    drawing: ClassVar[tuple[str, ...]] = ("sample.batch", "sample.candidates")
    undrawn: ClassVar[tuple[str, ...]] = ()


MEMBERS = {
    "privimage+g": GanMethod(
        pretrain_on="selected", what="PrivImage with a GAN", settings={**TRAINED, **PRETRAINED, **JUDGING, **LABELLED}
    ),
    "dpgan-p": GanMethod(
        pretrain_on="public",
        what="a GAN, pre-trained on all public images",
        role="rival",
        settings={**TRAINED, **PRETRAINED, **JUDGING, **UNLABELLED},
    ),
    "dpgan": GanMethod(
        pretrain_on="nothing",
        what="a GAN, DP-SGD from scratch",
        role="rival",
        settings={**TRAINED, **FROM_SCRATCH},
    ),
    "nonpriv-g": GanMethod(
        pretrain_on="selected",
        finetune="nonprivate",
        what="a GAN, fine-tuned without noise or clipping",
        role="diagnostic",
        settings={**PRETRAINED, **PLAINLY},
    ),
}
