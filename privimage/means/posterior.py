"""Posterior: what a noisy mean tells beside what public classes tell, and what images weigh before a tilt.

Images near the mean weigh more to begin with. Were a label as wide as public classes, and all public images Gaussian,

    log r_iy = -1/2 sum_j a_j (phi_ij - mu_yj)^2 - 1/2 sum_j log((w_j + v_yj) / (w_j + lambda_j))
    a = 1 / (w + v) - 1 / (w + lambda)

with lambda the variance between public classes, w that within them and v that of the posterior. Labels may be wider:
SHARP of it is taken. An image that is as near to other labels weighs less, as far as noise hides what would tell them
apart:

    b_iy = r_iy (r_iy / sum over labels y' of r_iy')^(distinct h_y)
    h_y = 1 - sum_j log((w_j + lambda_j) / (w_j + v_yj)) / sum_j log((w_j + lambda_j) / w_j)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
from numpy.typing import NDArray

from privimage.means.answer import Means
from privimage.means.embedding import Vectors
from privimage.means.prior import Prior
from privimage.means.resemblance import drawn

SHARP = 0.5


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Of every label: the mean of phi `mu` and its variance `v`, both [labels, d]."""

    mu: NDArray[np.float64]
    v: NDArray[np.float64]
    prior: Prior

    def nearness(self, phi: Vectors, label: int) -> Vectors:
        """log r [n] of images with phi [n, d]."""
        w, lam, v, mu = self.prior.within, self.prior.between, self.v[label], self.mu[label]
        a = SHARP * (1 / (w + v) - 1 / (w + lam)).clip(0)
        same = (a * np.square(mu)).sum() / 2 + SHARP / 2 * np.log((w + v) / (w + lam)).clip(max=0).sum()
        r: Vectors = phi @ (a * mu).astype(np.float32) - np.einsum("ij,ij,j->i", phi, phi, a / 2) - same
        return r

    @property
    def hidden(self) -> NDArray[np.float64]:
        """h [labels]: of what tells public classes apart, the share that noise hides; between 0 and 1."""
        w, whole = self.prior.within, self.prior.within + self.prior.between
        told = np.log(whole / (w + self.v)).sum(axis=1)
        share: NDArray[np.float64] = 1 - told / max(np.log(whole / w).sum(), 1e-12)
        return share.clip(0, 1)

    def near(
        self, phi: Vectors, *, distinct: float, base: Callable[[int], NDArray[np.float64]] | None = None
    ) -> Iterator[NDArray[np.float64]]:
        """For every label the weights b [n], which sum to 1, of images with phi [n, d]; times those of `base`, if any.

        Scores are computed anew for every label: those of all at once would not fit in memory where there are many.
        """
        labels, powers = range(len(self.mu)), distinct * self.hidden
        scores = partial(self.nearness, phi)
        of_any = reduce(np.logaddexp, map(scores, labels)) if distinct else 0.0
        for label in labels:
            score = scores(label)
            score = score + powers[label] * (score - of_any)
            if base is not None:
                score = score + np.log(np.maximum(base(label), 1e-30))
            b = np.exp((score - score.max()).astype(np.float64))
            yield b / b.sum()


def posterior(means: Means, prior: Prior, *, resembling: float) -> Posterior:
    """What the noisy means tell, label by label; `resembling` as of `resemblance.drawn`."""
    mu, v = drawn(means, prior, resembling=resembling)
    return Posterior(mu=mu, v=v, prior=prior)
