"""Resemblance: a noisy mean is drawn to the public class that its label resembles, if any does.

    mu_y = c + g + d_y                        c = m, the mean of public phi, or of one public class; g what labels share
    d_y ~ N(0, lambda) about m                lambda the variance between public classes
    d_y ~ N(0, tau) about a class             tau the mean square of what a class differs by from the one nearest to it
    M_y = mu_y + N(0, noise_y^2)              by direction

    g ~ N(0, s^2)                             1 / s^2 the mean of 1 / lambda and 1 / tau, by what labels resemble

A label resembles a public class with probability `resembling`, each as likely as any other, else none. Which, and g,
follow in turns: the share of each in a label, given g; g from what all labels differ by from these, drawn to 0 the
more, the more noise is in it. A label that resembles a class is drawn to it, also in directions in which noise hides
the label; one that may resemble many is drawn to their mean, one that resembles none to m: the more, the more noise
there is in a direction. So no direction need be left out, and a label that is lost in noise has what all share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from privimage.means.answer import Means
from privimage.means.prior import Prior

NoisyMeans = Sequence[tuple[NDArray[np.float64], float]]  # of each: its noisy mean [d], the square of the noise in it

TURNS = 5  # of what labels resemble and what they share


def drawn(means: Means, prior: Prior, *, resembling: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """mu and the variance v of it that is left, both [labels, d]; `resembling` is in 0 .. 1."""
    each = tuple(zip(means.M, np.square(means.noise), strict=True))
    likened = _Likened.to(prior, resembling=resembling)
    g = np.zeros(means.M.shape[1])
    for _ in range(TURNS):
        shares = [likened.shares(M, noise, g) for M, noise in each]
        g = likened.shared(each, shares)
    found = [likened.drawn(M, noise, g, p) for (M, noise), p in zip(each, shares, strict=True)]
    mu, v = map(np.stack, zip(*found, strict=True))
    return mu, v


@dataclass(frozen=True, kw_only=True)
class _Likened:
    """What a label may resemble, nothing first: where it then lies and how far from there [1 + C, d], how likely."""

    centre: NDArray[np.float64]
    variance: NDArray[np.float64]
    log_p: NDArray[np.float64]

    @staticmethod
    def to(prior: Prior, *, resembling: float) -> _Likened:
        count = len(prior.classes)
        with np.errstate(divide="ignore"):  # what is not possible has the logarithm -inf
            log_p = np.log([1 - resembling, *[resembling / count] * count])
        return _Likened(
            centre=np.vstack([prior.m, prior.classes]),
            variance=np.vstack([prior.between, np.tile(prior.apart, (count, 1))]),
            log_p=log_p,
        )

    def shares(self, M: NDArray[np.float64], noise: float, g: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability [1 + C] of each, given the noisy mean [d] of a label, the square of its noise, and g."""
        V = self.variance + noise
        score = self.log_p - (np.square(M - g - self.centre) / V + np.log(V)).sum(axis=1) / 2
        shares: NDArray[np.float64] = softmax(score)
        return shares

    def shared(self, each: NoisyMeans, shares: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """g [d]: what all labels differ by from what they resemble, drawn to 0 as far as that is noise."""
        sure, seen = (np.zeros((len(shares), self.centre.shape[1])) for _ in range(2))
        for y, ((M, noise), p) in enumerate(zip(each, shares, strict=True)):
            V = self.variance + noise
            sure[y], seen[y] = p @ (1 / V), p @ ((M - self.centre) / V)
        W = sure / sure.sum(axis=0)  # of every label in what all share
        both = (np.square(W) * np.array([noise for _, noise in each])[:, None]).sum(axis=0)  # the noise in that
        expected = 1 / (np.mean(shares, axis=0) @ (1 / self.variance))
        g: NDArray[np.float64] = expected / (expected + both) * seen.sum(axis=0) / sure.sum(axis=0)
        return g

    def drawn(
        self, M: NDArray[np.float64], noise: float, g: NDArray[np.float64], p: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """mu and v [d] of a label: its noisy mean drawn to all that it may resemble, by their shares."""
        share = self.variance / (self.variance + noise)
        at = self.centre + g + share * (M - g - self.centre)
        mu = p @ at
        return mu, p @ (share * noise + np.square(at - mu))
