"""Sampler: synthetic images from a generator. Post-processing: it costs no privacy however many are drawn."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.generators.generator import Generator, SampleConfig
from privimage.progress import Tell, silent


def draw_images(
    generator: Generator,
    *,
    n: int,
    config: SampleConfig,
    seed: int,
    device: torch.device,
    labels: NDArray[np.int64] | None = None,
    progress: Tell = silent,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """n synthetic images uint8 [n, C, H, W] with these labels [n], else 0, 1, ... in turn; same seed, same images."""
    wanted = torch.arange(n) % generator.n_classes if labels is None else torch.as_tensor(labels)
    images, done = [], 0
    for part in generator.to(device).eval().sample(wanted, config=config, seed=seed):
        images.append(part.cpu())
        done += len(part)
        progress(done, n)
    return torch.cat(images).numpy(), wanted.numpy()


def fit(generator: Generator, public: NDArray[np.uint8], *, config: SampleConfig, device: torch.device) -> None:
    """Fit what of the generator is not trained, such as a codec, to FIT_IMAGES public images [n, C, H, W]."""
    generator.to(device).eval().fit(public, config=config)
