"""What a file says of fine-tuning; free of torch, so that it is read at once."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from privimage.generators.config import FollowConfig, Precision, Training
from privimage.schema import Frozen

EngineName = Literal["auto", "layers", "vmap", "opacus", "loop"]


class FinetuneConfig(Frozen):
    """How the generator is fine-tuned; the noise multiplier is not here, it follows from the budget."""

    q: float = Field(default=0.25, ge=1e-9, le=1)  # share of the images in a batch, each drawn by itself
    steps: int = Field(default=16, ge=1, le=10**8)  # steps of DP-SGD: more need more noise
    C: float = Field(default=0.05, gt=0, le=1e6)  # the norm that the gradient of one image is clipped to
    K: int = Field(default=4, ge=1, le=1000)  # draws of noise an image and step, averaged before clipping
    optimizer: Literal["spectral", "adam"] = "spectral"  # spectral: steps along what noise does not hide; or Adam
    lr: float = Field(default=0.3, gt=0)  # learning rate, at first
    final_lr: float = Field(default=0.1, gt=0, le=1)  # the learning rate falls linearly to this share of it
    momentum: float = Field(default=0.8, ge=0, lt=1)  # momentum of the noisy gradients
    edge: float = Field(
        default=1.0, ge=0
    )  # spectral keeps directions that stand above this multiple of the noise; below 1 keeps more
    averaged: float = Field(default=0.3, gt=0, le=1)  # share of the last iterates that is averaged and released
    P_mean: float | None = Field(
        default=0.3, ge=-20, le=20
    )  # mean of ln sigma, the noise levels that are trained on; null: as in pre-training
    label_dropout: float = Field(default=0.0, ge=0, le=1)  # share of labels that are left out in training, for guidance
    trainable: Literal["all", "attention"] = Field(
        default="all",
        description="attention: only what takes a label in and carries it to the image; of gan-* what judges in the "
        "discriminator: its last layer and that of the label",
    )
    rank: int | None = Field(
        default=None, ge=1, le=1024
    )  # rank of adapters that are trained beside frozen layers; null: the layers themselves are trained
    precision: Precision = "fp32"  # of activations; bf16 is for GPUs
    follow: FollowConfig = FollowConfig()  # steps of the generator of a GAN, while its discriminator is trained
    engine: EngineName = "auto"  # what clips the gradients of single images; all agree but for rounding
    physical_batch: int = Field(default=512, ge=1, le=100_000)  # examples in memory at once; changes rounding only

    @property
    def partial(self) -> bool:
        """Whether only a part of the network is trained."""
        return self.trainable != "all" or self.rank is not None

    def first_averaged(self, steps: int) -> int:
        """The first step, of so many, whose iterate is averaged: at the latest the last one."""
        return min(round(steps * (1 - self.averaged)), steps - 1)

    @property
    def training(self) -> Training:
        """What of this the generator's loss has to know."""
        return Training(K=self.K, label_dropout=self.label_dropout, precision=self.precision, P_mean=self.P_mean)

    @model_validator(mode="after")
    def _opacus_is_float32(self) -> Self:
        if self.engine == "opacus" and self.precision != "fp32":
            raise ValueError(f"engine: 'opacus' works in fp32 only, precision is {self.precision}; use auto")
        return self
