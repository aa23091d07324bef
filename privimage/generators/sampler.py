"""Sampler: synthetic images from a generator. Post-processing: it costs no privacy however many are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.finite import diverged
from privimage.generators.codec import DctCodec
from privimage.generators.edm import SampleConfig, sample
from privimage.generators.networks import Generator, Shape

FIT_IMAGES = 500  # generated to fit a codec's tone curve: 400 quantiles of all their pixels


def draw_images(
    generator: Generator,
    *,
    n: int,
    shape: Shape,
    config: SampleConfig,
    seed: int,
    device: torch.device,
    labels: NDArray[np.int64] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """n synthetic images uint8 [n, C, H, W] with these labels [n], else 0, 1, ... in turn; same seed, same images."""
    images, drawn = [], []
    wanted = torch.arange(n) % generator.n_classes if labels is None else torch.as_tensor(labels)
    for z, label in _draw(generator, wanted, shape=shape, config=config, seed=seed, device=device):
        if not z.isfinite().all():
            raise diverged("samples")
        images.append(generator.codec.decode(z).cpu())
        drawn.append(label)
        progress(sum(map(len, drawn)), n)
    return torch.cat(images).numpy(), torch.cat(drawn).numpy()


def fit_codec(
    generator: Generator, public: NDArray[np.uint8], *, shape: Shape, config: SampleConfig, device: torch.device
) -> None:
    """Fit the generator's codec to its own images and to public ones [n, C, H, W]; nothing where there is no fit."""
    if not isinstance(generator.codec, DctCodec):
        return
    labels = torch.arange(FIT_IMAGES) % generator.n_classes
    drawn = [z for z, _ in _draw(generator, labels, shape=shape, config=config, seed=0, device=device)]
    generator.codec.fit(torch.cat(drawn), public)


@torch.no_grad()
def _draw(
    generator: Generator, labels: Tensor, *, shape: Shape, config: SampleConfig, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (encoded images on `device`, labels)."""
    generator.to(device).eval()
    latent = generator.latent_shape(shape)
    rng = torch.Generator().manual_seed(seed)
    for label in labels.split(config.batch):
        noise = torch.randn((len(label), *latent), generator=rng).to(device)
        sigma_data = generator.edm.sigma_data
        F = partial(generator, detail_below=config.detail_below)
        yield sample(F, noise, label.to(device), null=generator.null, config=config, sigma_data=sigma_data), label
