"""Evolve: candidates that a public generator draws, and variations of those that got votes (Lin et al. 2023, Alg. 1).

    first round   images of the generator, the same for all labels
    then          N draws from the candidates, each with the share of its votes, every one varied by the generator

All of it follows from public data and noisy votes. The variations get smaller from round to round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.device import tf32
from privimage.evolution.config import EvolveConfig
from privimage.evolution.votes import Noisy, See
from privimage.generators.config import SampleConfig
from privimage.generators.generator import Generator
from privimage.means.config import BLOCK
from privimage.means.embedding import Vectors
from privimage.means.features import filled


@dataclass(kw_only=True)
class Evolution:
    """The candidates of a round: `images` uint8 [labels or 1, N, C, H, W], which begin with those of the first."""

    generator: Generator
    see: See
    config: EvolveConfig
    sample: SampleConfig
    sigma: float  # of the noise in votes
    seed: int
    device: torch.device
    images: NDArray[np.uint8]

    def propose(self, number: int, before: Noisy | None) -> Vectors:
        """What is seen in the candidates of that round. See `votes.Propose`."""
        if before is not None:
            self.images = self._varied(self.chosen(before, n=self.config.candidates, number=number), number)
        flat = self.images.reshape(-1, *self.images.shape[2:])
        blocks = (flat[i : i + BLOCK] for i in range(0, len(flat), BLOCK))
        seen = np.concatenate([self.see(x)[:real] for x, real in filled(blocks)])
        return seen.reshape(*self.images.shape[:2], -1)

    def chosen(self, noisy: Noisy, *, n: int, number: int) -> NDArray[np.uint8]:
        """n candidates for each label uint8 [labels, n, C, H, W], drawn by the share of their votes."""
        rng = np.random.default_rng((self.seed, 7, number))
        share = shares(noisy, least=self.config.threshold * self.sigma)
        places = np.stack([rng.choice(len(own), size=n, p=own) for own in share])
        return self.images[np.arange(len(noisy))[:, None] % len(self.images), places]

    def _varied(self, parents: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        labels, n = parents.shape[:2]
        config = self.sample.model_copy(update={"start_at": self.config.level(number - 1)})
        with tf32(config.precision == "tf32"):
            parts = self.generator.to(self.device).eval().vary(
                parents.reshape(-1, *parents.shape[2:]), torch.arange(labels).repeat_interleave(n), config=config,
                seed=seed_of(self.seed, number),
            )  # fmt: skip
            return np.concatenate(list(parts)).reshape(parents.shape)


def seed_of(seed: int, number: int) -> int:
    """The seed by which the candidates of that round are drawn."""
    return int(np.random.SeedSequence((seed, 8, number)).generate_state(1)[0])


def shares(noisy: Noisy, *, least: float) -> Noisy:
    """Shares [labels, candidates] that sum to 1 for every label, by how far noisy votes lie above `least`.

    Where none does, all have the same: nothing is known.
    """
    above = np.maximum(noisy - least, 0)
    above[above.sum(axis=1) == 0] = 1
    share: Noisy = above / above.sum(axis=1, keepdims=True)
    return share
