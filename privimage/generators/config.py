"""What a file says of training and drawing from a generator; free of torch, so that it is read at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import Field, model_validator

from privimage.errors import InputError
from privimage.schema import Frozen

Precision = Literal["fp32", "tf32", "bf16"]  # of the network's activations; weights stay float32
AS_BEFORE: dict[str, Any] = {"sample.precision": "fp32"}  # what keys of images that were drawn do not have
LAST = 0.7  # of the noise level at which an anchor starts: that of its last step at most
COEFFICIENTS = 16  # per side, of dct_mlp: a 28x28 digit through this low pass keeps its look


@dataclass(frozen=True, kw_only=True)
class NoiseLevels:
    """Of the first and the last step from noise, and how they fall between: rho of EDM, eq. 5."""

    sigma_max: float
    sigma_min: float
    rho: float


EDM_LEVELS = NoiseLevels(sigma_max=80.0, sigma_min=0.002, rho=7.0)  # Karras et al. 2022, Table 1


class SampleConfig(Frozen):
    """How images are drawn: solver steps from `sigma_max` down to `sigma_min` on the rho grid of EDM, eq. 5.

    Where these are null they follow from the network and the images: EDM's own of a UNet, others of a dct-mlp.
    """

    solver: Literal["dpm++2m", "euler"] = "dpm++2m"  # solver of the diffusion
    steps: int = Field(default=16, ge=2, le=2000)  # steps of the solver; more are slower and finer
    start: Literal["noise", "anchors"] = "noise"  # drawing begins from it, or from public images chosen for a label
    start_at: float = Field(default=0.5, gt=0, le=1e6)  # the noise level of the first step from an anchor
    sigma_max: float | None = Field(
        default=None, gt=0, le=1e6
    )  # the noise level of the first step from noise; null: as suits network and images
    sigma_min: float | None = Field(
        default=None, gt=0
    )  # the noise level of the last step; null: as suits network and images
    rho: float | None = Field(
        default=None, ge=1, le=100
    )  # how noise levels fall between: larger has more small ones; null: as suits network and images
    guidance: float = Field(default=1.2, ge=0, le=20)  # w of classifier-free guidance: (1+w) D_label - w D_none
    detail_below: float = Field(default=1.0, ge=0)  # noise level under which the pre-trained weights draw; 0: never
    candidates: int = Field(
        default=1, ge=1, le=1000
    )  # images of a GAN that are drawn for each; the discriminator takes the one most like its label; 1: no choice
    precision: Precision = "fp32"  # of activations of the diffusion; bf16 is for GPUs
    batch: int = Field(default=500, ge=1, le=100_000)  # images that are drawn at a time

    @model_validator(mode="after")
    def _falls(self) -> SampleConfig:
        if self.sigma_max is not None and self.sigma_min is not None and self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min:g} must be below sigma_max {self.sigma_max:g}")
        return self

    def suited(self, own: NoiseLevels) -> SampleConfig:
        """The same with these levels in the place of null. Raises InputError where one that is given does not fit."""
        return self.model_copy(update=asdict(self._beside(own)))

    def _beside(self, own: NoiseLevels) -> NoiseLevels:
        given = {name: getattr(self, name) for name in asdict(own) if getattr(self, name) is not None}
        levels = replace(own, **given)
        if levels.sigma_min >= levels.sigma_max:
            raise InputError(
                f"method.sample: sigma_min {levels.sigma_min:g} must be below sigma_max {levels.sigma_max:g} (what is "
                "not given is as suits the network); give both"
            )
        return levels

    @property
    def levels(self) -> NoiseLevels:
        """Those of its steps; EDM's where they are null."""
        levels = self._beside(EDM_LEVELS)
        if self.start == "noise":
            return levels
        return replace(levels, sigma_max=self.start_at, sigma_min=min(levels.sigma_min, LAST * self.start_at))


class FollowConfig(Frozen):
    """How what learns from the trained network follows it: of a GAN, the generator its discriminator.

    After every `every` steps of the discriminator the generator takes `times` steps, on so many images each.
    """

    every: int = Field(default=1, ge=1, le=100_000)  # steps of the discriminator before the generator takes its own
    times: int = Field(default=1, ge=1, le=1000)  # steps of the generator after them: they cost no privacy
    batch: int = Field(default=64, ge=2, le=100_000)  # images a step of the generator, two of a label
    lr: float = Field(default=1e-3, gt=0)  # learning rate


@dataclass(frozen=True, kw_only=True)
class Training:
    """What one training asks of a generator's loss: K draws an example, the share of labels that are left out.

    `precision` is that of the activations. A diffusion draws ln sigma around `P_mean`; None: around its own.
    """

    K: int = 1
    label_dropout: float = 0.0
    precision: Precision = "fp32"
    P_mean: float | None = None


class PretrainConfig(Frozen):
    """Length and learning rate of pre-training; `images` counts images seen, over all epochs."""

    images: int = Field(default=150_000, ge=0)  # images that are seen in training, over all epochs
    batch: int = Field(default=128, ge=1, le=100_000)  # images a step
    lr: float = Field(default=1e-3, gt=0)  # learning rate
    ema: float = Field(default=0.998, ge=0, lt=1)  # decay of the moving average of the weights
    label_dropout: float = Field(default=0.1, ge=0, le=1)  # share of labels that are left out, for guidance
    precision: Precision = "fp32"  # of activations; bf16 is for GPUs
    follow: FollowConfig = FollowConfig()  # steps of the generator of a GAN, while its discriminator is trained

    @property
    def steps(self) -> int:
        """How many batches that are; one at least, where there is anything to see."""
        return max(1, self.images // self.batch) if self.images else 0

    @property
    def training(self) -> Training:
        """What of this the generator's loss has to know."""
        return Training(label_dropout=self.label_dropout, precision=self.precision)
