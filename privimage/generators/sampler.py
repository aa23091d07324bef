"""Sampler: synthetic images from a generator. Post-processing: it costs no privacy however many are drawn.

They are drawn in blocks, each from a seed of its own, so that a block can be drawn alone: after a crash, or elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.device import tf32
from privimage.generators.generator import Generator, SampleConfig
from privimage.progress import Tell, silent

BLOCK = 500  # images, or so many more that batches fill it


def blocks(n: int, config: SampleConfig) -> Iterator[slice]:
    """Where the blocks of n images lie, each but the last of whole batches.

    >>> list(blocks(1001, SampleConfig(batch=300)))
    [slice(0, 600, None), slice(600, 1001, None)]
    """
    size = config.batch * -(-BLOCK // config.batch)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def block_seed(seed: int, number: int) -> int:
    """The seed of a block; of the first that of all images.

    >>> block_seed(7, 0), block_seed(7, 1) != block_seed(8, 1)
    (7, True)
    """
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)


def draw_block(
    generator: Generator,
    labels: NDArray[np.int64],
    *,
    number: int,
    config: SampleConfig,
    seed: int,
    device: torch.device,
    progress: Tell = silent,
) -> NDArray[np.uint8]:
    """The block of that number, uint8 [b, C, H, W], of these labels [b]; it follows from no other block."""
    images, done, seed = [], 0, block_seed(seed, number)
    with tf32(config.precision == "tf32"):
        for part in generator.to(device).eval().sample(torch.as_tensor(labels), config=config, seed=seed):
            images.append(part.cpu())
            done += len(part)
            progress(done, len(labels))
    return torch.cat(images).numpy()


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
    wanted = np.arange(n) % generator.n_classes if labels is None else labels
    images = [
        draw_block(
            generator, wanted[at], number=number, config=config, seed=seed, device=device,
            progress=lambda done, of, before=at.start: progress(before + done, n),  # type: ignore[misc]
        )
        for number, at in enumerate(blocks(n, config))
    ]  # fmt: skip
    return np.concatenate(images), wanted


def fit(generator: Generator, public: NDArray[np.uint8], *, config: SampleConfig, device: torch.device) -> None:
    """Fit what of the generator is not trained, such as a codec, to FIT_IMAGES public images [n, C, H, W]."""
    with tf32(config.precision == "tf32"):
        generator.to(device).eval().fit(public, config=config)
