r"""Upper bounds on what it costs to release only the best of K trials, by privacy profiles and by Renyi divergences.

Setting. Q is the law of the whole output y of one trial, its score included, on one data set; Q' is the same on a
neighbour. Let H_e(Q, Q') = sup_A Q(A) - exp(e) Q'(A), the hockey-stick divergence. A profile delta_Q of the trial
bounds it in both directions, for every pair of neighbours: H_e(Q, Q') <= delta_Q(e) and H_e(Q', Q) <= delta_Q(e).
K follows `Law`, the trial runs K times, and the output with the best score is released, nothing else.

What the proof needs:

- K is drawn from the law once, whatever the data, the configurations and the scores, and is not revealed, nor is
  anything that depends on it (the number of trials, their cost, their duration);
- given the data, the K outputs are independent draws of the same Q. A trial may first draw its configuration from a
  law fixed beforehand; delta_Q must then bound every configuration, and so it bounds their mixture;
- the score is a part of y, so delta_Q must cover it: a score that reads sensitive data is an access of the trial.

Proof of `profile`.

1. Ties. Add to each y an independent uniform number, compare (score, number), and forget the number at the end. No
   divergence between Q and Q' changes, none between the releases grows, and no two trials tie (almost surely).
2. Density. Let F(y) be the probability under Q of an output worse than y. With K = k the release is in A with
   probability k int_A F^(k-1) dQ: one of k outputs is in A, the others are worse. On average over K,

       P(A) = int_A f'(F) dQ,    f(x) = E[x^K],    and likewise P'(A) = int_A f'(F') dQ'.

   For `Law`, f'(x) = E[K] (gamma / (1 - (1 - gamma) x))^(1 + eta); it increases, up to f'(1) = E[K].
3. Ratio. Fix y, let z = 1 - F(y) and z' = 1 - F'(y): the probabilities under Q and Q' of one set, the outputs that
   are not worse than y. Thus z' <= rho z + d for every e >= 0, with rho = exp(e) and d = delta_Q(e), and

       gamma + (1 - gamma) z' <= gamma + (1 - gamma) d + (1 - gamma) rho z
                              <= max(rho, 1 + (1 - gamma) d / gamma) (gamma + (1 - gamma) z),

   so f'(F(y)) = E[K] (gamma / (gamma + (1 - gamma) z))^(1 + eta) <= c f'(F'(y)), where c is the least of
   max(exp(e), 1 + (1 - gamma) delta_Q(e) / gamma)^(1 + eta) over e >= 0: `log_ratio`. One term rises with e and the
   other falls, so the least is where they meet.
4. Hockey-stick. For every e >= 0 and A, by steps 2 and 3,

       P(A) - c exp(e) P'(A) = int_A f'(F) dQ - exp(e) int_A c f'(F') dQ'
                            <= int_A f'(F) (dQ - exp(e) dQ') <= f'(1) sup_B (Q(B) - exp(e) Q'(B)),

   the last because 0 <= f'(F) <= f'(1). So H_{e + ln c}(P, P') <= E[K] delta_Q(e). Step 3 used H(Q', Q) and step 4
   used H(Q, Q'): one direction of a trial's profile is not enough, even for one direction of the result.
5. Between and beyond the points. H is a supremum of Q(A) - t Q'(A), affine in t = exp(e): it is convex and falls in t,
   and it is 1 at t = 0. So a chord between two upper bounds, one of which may be (t = 0, H = 1), is an upper bound
   between them, and every upper bound holds for all larger t: the greatest convex, falling function that is nowhere
   above the points bounds H. This serves delta_Q in step 3, and again the points (e + ln c, E[K] delta_Q(e)) of P.

Koskela, Redberg and Wang 2024 (arXiv 2402.06701) bound selection by profiles; the c of step 3 is derived here. Given
delta_Q it loses nothing: c is the supremum over z of the ratio in step 3 where z' is as large as delta_Q allows,
z' = R(z) = min_e min(1, exp(e) z + delta_Q(e)), the form with trade-off functions (f-DP).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from privimage.errors import Violation
from privimage.privacy.accounting.law import Law

Array = NDArray[np.float64]
LARGEST = 600.0  # a point at a larger epsilon says nothing here; exp(-epsilon) times delta stays a normal double


def log_ratio(law: Law, epsilons: Array, deltas: Array) -> float:
    """ln c of the module's step 3: how much more selection can favour an output on one data set than on its neighbour.

    A trial has hockey-stick divergence at most `deltas[i]` at `epsilons[i]`, in both directions; epsilons ascend from
    0 or more (0 itself helps). Any subset of the points gives a valid answer, which is no smaller.

    >>> round(log_ratio(Law(eta=1, mean=10), np.array([0.0, 2.0]), np.array([0.2, 1e-6])), 4)
    1.7546
    """
    v, y = _convex(epsilons, deltas)
    gamma = law.gamma
    # In v = 1 / (1 + rho), y = v delta: rho = 1 + (1 - gamma) delta / gamma where this rising function is zero.
    root = np.interp(0.0, (1 - gamma) * y - gamma * (1 - 2 * v), v)
    return max(0.0, (1 + law.eta) * float(np.log1p(-root) - np.log(root)))


def profile(law: Law, epsilons: Array, deltas: Array, at: Array) -> Array:
    """Upper bounds on the hockey-stick divergences of the best of K trials at the epsilons `at`, in both directions.

    The points of a trial are as in `log_ratio`. Step 4 moves each to (epsilon + ln c, E[K] delta), step 5 joins them.

    >>> law, epsilons, deltas = Law(mean=10), np.array([0.0, 1.0, 2.0]), np.array([0.3, 1e-3, 1e-8])
    >>> [f"{delta:.2g}" for delta in profile(law, epsilons, deltas, np.array([1.0, 2.0, 3.0]))]
    ['0.6', '0.0095', '1e-07']
    """
    v, y = _convex(epsilons + log_ratio(law, epsilons, deltas), law.mean * deltas)
    x = np.maximum(expit(-at), expit(-LARGEST))
    return np.asarray(np.interp(x, v, y) / x)


def _convex(epsilons: Array, deltas: Array) -> tuple[Array, Array]:
    """Knots of the greatest convex profile below the points (step 5), as v = 1 / (1 + exp(epsilon)) and y = v delta.

    These coordinates keep lines straight (delta = a + b exp(epsilon) is y = a v + b (1 - v)) and nothing overflows.
    (0, 0) stands for epsilon without end and makes delta fall; (1, 1) is delta 1 at exp(epsilon) = 0. The slopes
    of the greatest convex minorant are the isotonic regression of the slopes between the points.
    """
    from scipy.optimize import isotonic_regression  # here: its package takes longer to load than all else that accounts

    rising = np.all(epsilons >= 0) and np.all(np.diff(epsilons) >= 0)
    if epsilons.shape != deltas.shape or epsilons.ndim != 1 or not rising or not np.all(deltas >= 0):
        raise Violation("a privacy profile needs as many deltas >= 0 as epsilons, which rise from 0 or more")
    kept = epsilons <= LARGEST
    v = expit(-epsilons[kept][::-1])
    y = v * deltas[kept][::-1]
    v, first = np.unique(np.concatenate([[0.0], v, [1.0]]), return_index=True)
    y = np.concatenate([[0.0], y, [1.0]])[first]
    knots = isotonic_regression(np.diff(y) / np.diff(v), weights=np.diff(v)).blocks
    return v[knots], y[knots]


def rdp(law: Law, orders: Array, values: Array) -> Array:
    """Renyi divergences of the best of K trials at `orders` > 1, ascending, from the `values` of one trial there.

    Papernot and Steinke 2022, Theorem 2, with the second order (their lambda-hat) chosen best among `orders`; a
    divergence of a larger order bounds those of smaller ones.

    >>> rdp(Law(eta=1, mean=10), np.array([2.0, 1e9]), np.array([1.0, 1.0])).round(6)  # pure DP: 2 + eta times as much
    array([3., 3.])
    """
    if not (np.all(orders > 1) and np.all(np.diff(orders) > 0)):
        raise Violation("orders of Renyi divergences must rise from above 1")
    if law.mean == 1:
        return values
    ratio = (1 + law.eta) * np.min((1 - 1 / orders) * values - math.log(law.gamma) / orders)
    return np.asarray(np.minimum.accumulate((values + ratio + math.log(law.mean) / (orders - 1))[::-1])[::-1])
