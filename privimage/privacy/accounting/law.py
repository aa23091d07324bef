"""The law of the number of trials K of a private selection, by its shape and its mean.

>>> law = Law(mean=10)
>>> print(law)
K ~ logarithmic law with mean 10
>>> law.quantile([0.5, 0.9, 0.99])
array([ 4, 26, 81])
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator
from scipy.special import betainc, exprel, gammaln

from privimage.privacy.entropy import Entropy
from privimage.schema import Frozen

LEAST_GAMMA = 1e-6  # K can reach some 40 / gamma: its table must fit in memory, and nobody runs so many trials
NEAR = 50  # from here on three terms of Stirling's series leave nothing that a double could hold
LARGEST = 2**31  # beyond any end of that table
TAIL = 1e-17  # probability beyond the end of the table of K, less than the resolution of a double below 1


class Law(Frozen):
    """The truncated negative binomial law of K >= 1 (Papernot and Steinke 2022, Definition 1).

    `eta` > -1 is its shape: 0 is the logarithmic law, 1 the geometric law. `mean` is E[K]; with mean 1, K is always 1.
    All else follows from the derivative of the generating function f(x) = E[x^K],

        f'(x) = E[K] (gamma / (1 - (1 - gamma) x))^(1 + eta),    f(0) = 0,    f(1) = 1,

    which says that k P[K = k] / E[K] is the probability of k - 1 under the negative binomial law (1 + eta, gamma):
    no case for eta = 0, where Definition 1 has one.
    """

    eta: float = Field(default=0.0, gt=-1)
    mean: float = Field(ge=1)

    @model_validator(mode="after")
    def _tail_is_finite(self) -> Law:
        if self._excess(-math.log(LEAST_GAMMA)) < 0:
            raise ValueError(
                f"mean {self.mean:g} at eta {self.eta:g}: K could be millions; raise eta or lower the mean"
            )
        return self

    def __str__(self) -> str:
        if self.mean == 1:
            return "K = 1"
        names = {0.0: "logarithmic law", 1.0: "geometric law"}
        name = names.get(self.eta, f"truncated negative binomial law (eta {self.eta:g})")
        return f"K ~ {name} with mean {self.mean:g}"

    def _excess(self, L: float) -> float:
        """E[K] at gamma = exp(-L), less the mean, times a positive number; exprel(x) is (exp(x) - 1) / x.

        Definition 1 has E[K] = eta (1 - gamma) / (gamma (1 - gamma^eta)), which is exprel(L) / exprel(-eta L).
        """
        return float(exprel(L) - self.mean * exprel(-self.eta * L))

    @cached_property
    def gamma(self) -> float:
        """The parameter in (0, 1] for which E[K] is the mean.

        >>> round(Law(eta=1, mean=10).gamma, 9)
        0.1
        """
        if self.mean == 1:
            return 1.0
        from scipy.optimize import brentq  # here: its package takes longer to load than all else that accounts

        return math.exp(-float(brentq(self._excess, 0.0, -math.log(LEAST_GAMMA), xtol=1e-300, rtol=1e-15)))

    def pmf(self, k: ArrayLike) -> NDArray[np.float64]:
        """P[K = k] for integers k; zero below 1.

        >>> Law(eta=1, mean=10).pmf([0, 1, 2]).round(4)
        array([0.  , 0.1 , 0.09])
        """
        k = np.asarray(k)
        weighted = self.mean * _negative_binomial(np.maximum(k - 1, 0), 1 + self.eta, self.gamma)
        return np.asarray(np.where(k < 1, 0.0, weighted / np.maximum(k, 1)))

    def derivative(self, x: ArrayLike) -> NDArray[np.float64]:
        """f'(x), the sum of k P[K = k] x^(k-1), for x in [0, 1]: how much likelier an output of rank x becomes."""
        return np.asarray(self.mean * (self.gamma / (1 - (1 - self.gamma) * np.asarray(x))) ** (1 + self.eta))

    def _cumulative(self) -> NDArray[np.float64]:
        """P[K <= k] for k = 1, 2, ... up to an end beyond which less than `TAIL` is left; the last entry is 1.

        K - 1 is stochastically smaller than the negative binomial law, which is K - 1 weighted by K.
        """
        n, gamma = 1 + self.eta, self.gamma
        beyond = bisect_left(range(LARGEST), True, key=lambda k: bool(betainc(k + 1, n, 1 - gamma) <= TAIL))
        total = np.cumsum(self.pmf(np.arange(1, beyond + 2)))
        return np.asarray(total / total[-1])

    def cdf(self, k: ArrayLike) -> NDArray[np.float64]:
        """P[K <= k] for integers k.

        >>> Law(eta=1, mean=10).cdf([0, 1, 2]).round(4)
        array([0.  , 0.1 , 0.19])
        """
        table = np.concatenate([[0.0], self._cumulative()])
        return np.asarray(table[np.clip(np.asarray(k), 0, len(table) - 1)])

    def quantile(self, p: ArrayLike) -> NDArray[np.int64]:
        """The smallest k with P[K <= k] >= p, for p in [0, 1)."""
        p = np.asarray(p)
        if not np.all((p >= 0) & (p < 1)):
            raise ValueError(f"a probability in [0, 1) is needed, got {p}")
        return np.asarray(1 + np.searchsorted(self._cumulative(), p))

    def draw(self, entropy: Entropy) -> int:
        """One K, a function of `entropy` alone: drawn once and kept secret.

        >>> Law(mean=10).draw(Entropy(bytes(32))) == Law(mean=10).draw(Entropy(bytes(32)))
        True
        """
        return int(self.quantile(entropy.stream("number of trials").uniforms(1).item()))


def _negative_binomial(k: NDArray[np.int64], n: float, p: float) -> NDArray[np.float64]:
    """Probabilities of k >= 0 under the negative binomial law (n, p), p in (0, 1], to about 1e-13 of themselves.

    They are gamma(k + n) / (gamma(k + 1) gamma(n)) p^n (1 - p)^k. From NEAR on the first quotient is by Stirling's
    series, as a logarithm whose large parts are subtracted beforehand: logarithms of gamma lose digits there.
    """
    if p == 1:
        return np.asarray(np.where(k == 0, 1.0, 0.0))
    x, more = np.maximum(k, NEAR) + 1.0, n - 1
    far = (x - 0.5) * np.log1p(more / x) + more * (np.log(x + more) - 1) + _stirling(x + more) - _stirling(x)
    low = np.minimum(k, NEAR)
    near = gammaln(low + n) - gammaln(low + 1.0)
    return np.asarray(np.exp(np.where(k < NEAR, near, far) - gammaln(n) + n * math.log(p) + k * math.log1p(-p)))


def _stirling(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln gamma(x) less (x - 1/2) ln x - x + ln(2 pi) / 2, for x of NEAR and more."""
    return np.asarray((1 / 12 - (1 / 360 - 1 / (1260 * x**2)) / x**2) / x)
