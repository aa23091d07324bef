"""Posterior: what a noisy mean tells beside what public classes tell, and what images weigh before a tilt.

    mu_y = g + d_y,   d_y ~ N(0, lambda),   g ~ N(m, lambda)          by direction: m the mean of public phi, lambda
    M_y = mu_y + N(0, noise_y^2)                                      the variance between public classes

g is estimated from all labels, d_y from its own; each is drawn to what is expected the more, the more noise there is in
its direction. So no direction need be left out, and a label that is lost in noise has what all labels share. v is the
variance of d_y that is left.

Images near the mean weigh more to begin with. Were a label as wide as public classes, and all public images Gaussian,

    log b_i = -1/2 sum_j a_j (phi_ij - mu_j)^2,   a = 1 / (w + v) - 1 / (w + lambda)

with w the variance within public classes and v that of the posterior. Labels may be wider: SHARP of it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privimage.means.answer import Means
from privimage.means.embedding import Vectors

SHARP = 0.5


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Of phi of public images, all [d]: the mean, the variance between classes, that within them."""

    m: NDArray[np.float64]
    between: NDArray[np.float64]
    within: NDArray[np.float64]

    @staticmethod
    def of(phi: Vectors, y: NDArray[np.int64]) -> Prior:
        """That of images with phi [n, d] of public classes [n]."""
        _, y, n = np.unique(y, return_inverse=True, return_counts=True)
        sums = np.zeros((len(n), phi.shape[1]))
        np.add.at(sums, y, phi)
        means = sums / n[:, None]
        within = (
            np.einsum("ij,ij->j", phi, phi, dtype=np.float64) - (n[:, None] * np.square(means)).sum(axis=0)
        ) / len(y)
        return Prior(m=sums.sum(axis=0) / len(y), between=means.var(axis=0), within=within.clip(1e-12))


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Of every label: the mean of phi `mu` and its variance `v`, both [labels, d]."""

    mu: NDArray[np.float64]
    v: NDArray[np.float64]
    prior: Prior

    def near(self, phi: Vectors, label: int, *, base: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The weights b [n], which sum to 1, of images with phi [n, d]; times those of `base` [n], if any."""
        w, lam = self.prior.within, self.prior.between
        a = SHARP * (1 / (w + self.v[label]) - 1 / (w + lam)).clip(0)
        score = phi @ (a * self.mu[label]).astype(np.float32) - np.einsum("ij,ij,j->i", phi, phi, a / 2)
        if base is not None:
            score = score + np.log(np.maximum(base, 1e-30))
        b = np.exp((score - score.max()).astype(np.float64))
        weights: NDArray[np.float64] = b / b.sum()
        return weights


def posterior(means: Means, prior: Prior) -> Posterior:
    """What the noisy means tell, label by label."""
    noise, lam = np.square(means.noise)[:, None], prior.between
    sure = 1 / (lam + noise)
    W = sure / sure.sum(axis=0)  # of every label in what all share
    both = (np.square(W) * noise).sum(axis=0)  # the noise in that
    g = prior.m + lam / (lam + both) * ((W * means.M).sum(axis=0) - prior.m)
    share = lam * sure
    return Posterior(mu=g + share * (means.M - g), v=share * noise, prior=prior)
