"""Diffusion: the family of generators that are trained and sampled by EDM, whatever network and codec they have."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privimage.device import onto
from privimage.dpsgd.batch import Batch, Loss, Network
from privimage.errors import InputError
from privimage.finite import diverged
from privimage.generators import Shape
from privimage.generators import edm as diffusion
from privimage.generators.anchors import Anchors
from privimage.generators.codec import Codec
from privimage.generators.config import EDM_LEVELS, NoiseLevels
from privimage.generators.drawing import Drawing, at_precision
from privimage.generators.edm import EDM
from privimage.generators.generator import FIT_IMAGES, Generator, Numbers, SampleConfig, Training

WITHIN = 1.5  # standard deviations of ln sigma in which the noise level is that decides what varies most in images


class Diffusion(Generator):
    """A denoiser F with its codec, the constants of its diffusion, and the noise levels that suit its sampler.

    `detail`, if kept, is F as it was before fine-tuning: DP-SGD moves the shapes, which are decided at high noise
    levels, while its noise spoils the fine strokes; below a noise level of the sampler's choice the strokes can be
    left to the public weights.
    """

    def __init__(
        self, *, F: nn.Module, codec: Codec, edm: EDM, shape: Shape, n_classes: int, levels: NoiseLevels = EDM_LEVELS
    ) -> None:
        super().__init__(F=F, codec=codec, shape=shape, n_classes=n_classes)
        self.edm, self.levels = edm, levels
        self.detail: nn.Module | None = None
        self.anchors: Anchors | None = None
        self.drawing = Drawing()

    @property
    def sigma_data(self) -> float | Tensor:
        """The standard deviation of encoded images: of every coordinate, where the codec knows it."""
        deviation = self.codec.deviation
        return self.edm.sigma_data if deviation is None else deviation

    def loss(self, training: Training) -> EdmLoss:
        """EDM's, at the noise levels of the training."""
        return EdmLoss(edm=self._levels(training))

    def batch(self, z: Tensor, y: Tensor, *, training: Training, rng: Numbers) -> Batch:
        """With K draws of noise, noise level and kept or dropped label."""
        edm, dropout = self._levels(training), training.label_dropout
        return draw(z, y, K=training.K, edm=edm, null=self.null, label_dropout=dropout, rng=rng)

    def _levels(self, training: Training) -> EDM:
        P_mean = self.edm.P_mean if training.P_mean is None else training.P_mean
        widest = self.codec.widest or float(self.edm.sigma_data)
        P_std = max(self.edm.P_std, (math.log(widest) - P_mean) / WITHIN)
        return replace(self.edm, P_mean=P_mean, P_std=P_std, precision=training.precision, sigma_data=self.sigma_data)

    def sample(self, labels: Tensor, *, config: SampleConfig, seed: int) -> Iterator[Tensor]:
        """Images by the solver of `config`. Raises Diverged where they are not finite."""
        for z in self._latents(labels, config=config, seed=seed):
            if not z.isfinite().all():
                raise diverged("samples")
            yield self.codec.decode(z)

    def fit(self, public: NDArray[np.uint8], *, config: SampleConfig) -> None:
        """Fit the codec, if it is one that is fitted, to images of this generator and to public ones."""
        if self.codec.fitted:
            labels = torch.arange(FIT_IMAGES) % self.n_classes
            self.codec.fit(torch.cat(list(self._latents(labels, config=config, seed=0))), public)

    @torch.no_grad()
    def _latents(
        self, labels: Tensor, *, config: SampleConfig, seed: int, given: Sequence[Tensor] = ()
    ) -> Iterator[Tensor]:
        """Batches of encoded images. Where it starts from images, these are `given`, or else anchors."""
        config, rng = config.suited(self.levels), torch.Generator().manual_seed(seed)
        for number, label in enumerate(labels.split(config.batch)):
            n = onto(self.device, torch.randn((len(label), *self.latent_shape), generator=rng))
            F, here, z = partial(self._network, config), onto(self.device, label), None
            if config.start == "anchors":
                z = self.codec.encode(onto(self.device, given[number])) if given else self._start(label, rng)
            yield diffusion.sample(F, n, here, null=self.null, config=config, sigma_data=self.sigma_data, z=z)

    def vary(
        self, x: NDArray[np.uint8], labels: Tensor, *, config: SampleConfig, seed: int
    ) -> Iterator[NDArray[np.uint8]]:
        """See Generator: noise is added, and taken away by the solver (Meng et al. 2022, SDEdit)."""
        given = torch.from_numpy(x).split(config.batch)
        config = config.model_copy(update={"start": "anchors"})
        for z in self._latents(labels, config=config, seed=seed, given=given):
            if not z.isfinite().all():
                raise diverged("samples")
            yield self.codec.decode(z).cpu().numpy()

    def _start(self, label: Tensor, rng: torch.Generator) -> Tensor:
        """Encoded anchors of these labels."""
        if self.anchors is None:
            raise InputError("method.sample.start: anchors: this generator holds none; use noise")
        return self.codec.encode(self.anchors.draw(label, rng))

    def keep_detail(self) -> None:
        """Keep a copy of F as it is now for the low noise levels."""
        self.detail = copy.deepcopy(self.F)

    def keep_anchors(self, x: NDArray[np.uint8], y: NDArray[np.int64]) -> None:
        """Hold them; samplers of `start: anchors` begin there."""
        self.anchors = Anchors(torch.from_numpy(x), torch.from_numpy(y))

    def _network(self, config: SampleConfig, sigma: float) -> Network:
        """What draws at this noise level: F, or `detail` where that is low."""
        F = self.F if self.detail is None or sigma >= config.detail_below else self.detail
        if self.graphs:
            return self.drawing.network(F, size=config.batch, precision=config.precision)
        return at_precision(F, config.precision)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """With or without `detail` and anchors."""
        if self.detail is None and any(name.startswith("detail.") for name in state):
            self.keep_detail()
        self.anchors = Anchors.within(state, "anchors", shape=self.shape, n_classes=self.n_classes)
        super().load(state)


@dataclass(frozen=True, kw_only=True)
class EdmLoss(Loss):
    """EDM's loss of a batch that `draw` makes: rows are z, noise, sigma, label."""

    edm: EDM

    def __call__(self, F: Network, *rows: Tensor) -> Tensor:
        """Losses [R]."""
        z, noise, sigma, label = rows
        return diffusion.loss(F, z, noise, sigma, label, edm=self.edm)

    @property
    def exact(self) -> Loss:
        """In float32."""
        return replace(self, edm=replace(self.edm, precision="fp32"))

    def stand_in(self, few: Batch, rng: torch.Generator) -> Batch:
        """Random images and noise, at noise level 1."""
        made, (_, sigma, label) = super().stand_in(few, rng), few.drawn
        return replace(made, drawn=(made.drawn[0], torch.ones_like(sigma), label))


def draw(z: Tensor, y: Tensor, *, K: int, edm: EDM, null: int, label_dropout: float, rng: Numbers) -> Batch:
    """z [n, ...] with K draws each of noise [n, K, ...], noise level sigma [n, K] and kept or dropped label [n, K].

    ln sigma ~ N(P_mean, P_std^2), stratified: one of the K noise levels of an example from each K-th of it. All
    randomness comes from `rng` (on the CPU, so that every device sees the same draws).
    """
    n = len(z)
    share = (torch.arange(K) + rng.uniforms(n, K)) / K
    normal = torch.special.ndtri(share.clamp(1e-9, 1 - 1e-9)).float()
    sigma = torch.exp(normal * edm.P_std + edm.P_mean)
    noise = rng.normals(n, K, *z.shape[1:]).float()
    dropped = rng.uniforms(n, K) < label_dropout
    label = torch.where(dropped, torch.full((n, K), null), y.cpu()[:, None].expand(n, K))
    return Batch(each=(z,), drawn=tuple(onto(z.device, t) for t in (noise, sigma, label)), K=K)
