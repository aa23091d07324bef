"""The bounds against exact costs of best-of-K, brute force, and Google's accountant; planted faults are noticed."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from dp_accounting import dp_event as dpe
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant, compute_epsilon
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from privimage.errors import Violation
from privimage.privacy.accounting.bounds import Array, log_ratio, profile, rdp
from privimage.privacy.accounting.law import Law

DELTA = 1e-5
SGD = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.02, dpe.GaussianDpEvent(1.0)), 1000)
Points = tuple[Array, Array]
laws = st.builds(Law, eta=st.sampled_from([-0.5, 0, 0.5, 1, 3]), mean=st.floats(1, 20))


def epsilon(law: Law, points: Points) -> float:
    """The least epsilon with bound DELTA."""
    return float(brentq(lambda e: math.log(profile(law, *points, np.array([e]))[0] / DELTA), 0, 60, xtol=1e-9))


# ---- finite trials: atoms in ascending order of score, best-of-K by summing over K


def hockey_stick(p: Array, q: Array, epsilons: Array) -> Array:
    return np.maximum(p - np.exp(epsilons)[:, None] * q, 0).sum(1)


def trade(p: Array, q: Array, epsilons: Array) -> Points:
    """The exact profile in both directions at some epsilons."""
    return epsilons, np.maximum(hockey_stick(p, q, epsilons), hockey_stick(q, p, epsilons))


def best_of_k(law: Law, p: Array, score: Array) -> Array:
    """Probability of every atom to be released; `score` is a rank that ascends, and equal scores tie at random."""
    k = np.arange(1, int(law.quantile(1 - 1e-15)) + 1)
    below = np.array([p[score < s].sum() for s in score])
    upto = np.array([p[score <= s].sum() for s in score]).clip(max=1)
    won = law.pmf(k) @ (upto ** k[:, None] - below ** k[:, None])
    return won * p / np.maximum(upto - below, 1e-300)


def excess(law: Law, p: Array, q: Array, score: Array, points: Points, used: Law | None = None) -> float:
    """The most by which the exact hockey-stick divergence of best-of-K is above its bound, P against Q."""
    P, Q = best_of_k(law, p, score), best_of_k(law, q, score)
    assert P.sum() == pytest.approx(1, abs=1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        kinks = np.log(P / Q)
    at = np.sort(np.concatenate([np.linspace(-2, 16, 400), kinks[np.isfinite(kinks)]]))
    return float((hockey_stick(P, Q, at) - profile(used or law, *points, at)).max())


@st.composite
def finite_trials(draw: st.DrawFn) -> tuple[Array, Array, Array, Points]:
    """Two neighbouring laws on a few atoms, some all but impossible under one; scores with ties; valid points."""
    n = draw(st.integers(2, 7))
    weight = st.one_of(st.floats(-7, 0).map(math.exp), st.just(0.0))
    p, q = (np.array(draw(st.lists(weight, min_size=n, max_size=n))) + 1e-12 for _ in range(2))
    p, q = p / p.sum(), q / q.sum()
    share = draw(st.sampled_from([0.0, 0.0, 0.5, 0.9]))  # neighbours that are close, too
    q = share * p + (1 - share) * q
    score = np.cumsum([0, *draw(st.lists(st.sampled_from([0, 1, 1]), min_size=n - 1, max_size=n - 1))])
    kinks = np.abs(np.log(p / q))
    chosen = draw(st.lists(st.one_of(st.sampled_from(list(kinks)), st.floats(0, 12)), min_size=1, max_size=12))
    epsilons, deltas = trade(p, q, np.unique([*chosen, *(kinks if draw(st.booleans()) else [])]))
    slack = np.array([draw(st.sampled_from([1.0, 1.0, 1.0, 3.0])) for _ in epsilons])  # also points that are loose
    return p, q, score, (epsilons, np.minimum(deltas * slack, 1))


@given(laws, finite_trials())
@settings(max_examples=150, deadline=None)
@pytest.mark.thorough
def test_best_of_k_finite_trials_never_costs_more_than_the_bound(
    law: Law, trials: tuple[Array, Array, Array, Points]
) -> None:
    p, q, score, points = trials
    assert excess(law, p, q, score, points) <= 1e-10
    assert excess(law, q, p, score, points) <= 1e-10


def tight_trial() -> tuple[Array, Array, Array, Points]:
    """Pure epsilon 1: under Q the best atom is likelier, and the next one less likely, both by a factor e."""
    p = np.array([1 - 0.2 - 0.05 * math.e, 0.05 * math.e, 0.2])
    q = np.array([1 - 0.2 * math.e - 0.05, 0.05, 0.2 * math.e])
    score = np.arange(3)
    return p, q, score, trade(p, q, np.array([0.0, 0.5, 1.0]))


def rare_trial() -> tuple[Array, Array, Array, Points]:
    """Under Q, but never under P, the best output appears with probability 0.01."""
    p, q = np.array([1.0, 0.0]), np.array([0.99, 0.01])
    return p, q, np.arange(2), trade(p, q, np.array([0.0, 0.005, -math.log(0.99), 1.0]))


def test_the_bound_is_nearly_reached() -> None:
    law, (p, q, score, points) = Law(eta=1, mean=100), tight_trial()
    exact = float(np.log(best_of_k(law, p, score) / best_of_k(law, q, score)).max())
    assert 0.8 * (1 + log_ratio(law, *points)) < exact < 1 + log_ratio(law, *points) < 3


def altered(law: Law, **changed: float) -> Law:
    """A law with the right gamma in which one number of the formula is wrong."""
    return SimpleNamespace(**({"eta": law.eta, "mean": law.mean, "gamma": law.gamma} | changed))  # type: ignore


def test_fault_mean_number_of_trials_forgotten() -> None:
    law, (p, q, score, points) = Law(mean=10), rare_trial()
    assert excess(law, q, p, score, points) <= 1e-12
    assert excess(law, q, p, score, points, used=altered(law, mean=1)) > 0.05


def test_fault_power_1_plus_eta_forgotten() -> None:
    law, (p, q, score, points) = Law(eta=1, mean=100), tight_trial()
    assert excess(law, p, q, score, points) <= 1e-12
    assert excess(law, p, q, score, points, used=altered(law, eta=0.0)) > 1e-3


def test_fault_profile_in_one_direction_only() -> None:
    law, (p, q, score, (epsilons, deltas)) = Law(mean=10), rare_trial()
    one_way = hockey_stick(p, q, epsilons)
    assert excess(law, p, q, score, (epsilons, deltas)) <= 1e-12
    assert excess(law, p, q, score, (epsilons, one_way)) > 0.01


# ---- the ratio and the joining of points


def brute_force(law: Law, epsilons: Array, deltas: Array) -> float:
    """sup over z of the ratio with z' = R(z), at every crossing of two of the lines, and on a grid."""
    slopes, heights = np.append(np.exp(epsilons), 0.0), np.append(deltas, 1.0)  # the last line is z' = 1
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = ((heights[:, None] - heights) / (slopes - slopes[:, None])).ravel()
    z = np.concatenate([crossings[(crossings > 0) & (crossings < 1)], np.linspace(0, 1, 2001)])
    R = (slopes[:, None] * z + heights[:, None]).min(0)
    ratio = (law.gamma + (1 - law.gamma) * R) / (law.gamma + (1 - law.gamma) * z)
    return (1 + law.eta) * math.log(ratio.max())


@given(laws, st.dictionaries(st.integers(0, 400), st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([1, 6]))
@settings(max_examples=200, deadline=None)
def test_the_ratio_is_the_supremum_over_trade_offs(law: Law, points: dict[int, float], power: int) -> None:
    epsilons = np.array(sorted(points)) / 40
    deltas = np.array([points[e] for e in sorted(points)]) ** power
    assert log_ratio(law, epsilons, deltas) == pytest.approx(brute_force(law, epsilons, deltas), abs=1e-12, rel=1e-12)


def gaussian(at: Array, mu: float = 0.5) -> Points:
    """The exact profile of N(0, 1) against N(mu, 1), the same in both directions (Balle and Wang 2018)."""
    delta = norm.sf(at / mu - mu / 2) - np.exp(at) * norm.sf(at / mu + mu / 2)
    return at, np.clip(delta, 0, 1)


@given(laws, st.sets(st.integers(0, 240), min_size=1))
@settings(max_examples=60, deadline=None)
def test_fewer_points_never_give_less(law: Law, chosen: set[int]) -> None:
    few = gaussian(np.array(sorted(chosen)) / 20)
    all_points, at = gaussian(np.arange(241) / 20), np.linspace(-1, 20, 300)
    assert log_ratio(law, *few) >= log_ratio(law, *all_points) - 1e-12
    assert (profile(law, *few, at) >= profile(law, *all_points, at) - 1e-12).all()


def test_one_trial_costs_itself() -> None:
    points = gaussian(np.linspace(0, 5, 60))
    between = np.linspace(0, 6, 1001)
    assert log_ratio(Law(mean=1), *points) == 0
    np.testing.assert_allclose(profile(Law(mean=1), *points, points[0]), points[1], rtol=1e-9)
    assert (profile(Law(eta=1, mean=1), *points, between) >= gaussian(between)[1] - 1e-15).all()
    values = np.array([1.0, 0.5, math.inf])
    np.testing.assert_array_equal(rdp(Law(mean=1), np.array([1.5, 2, 3]), values), values)


@given(laws, st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_the_bound_is_convex_and_falls_from_one(law: Law, scale: float) -> None:
    t = np.linspace(1e-9, 60, 4000)
    epsilons, deltas = gaussian(np.linspace(0, 8, 50))
    bound = profile(law, epsilons, np.minimum(deltas * (1 + scale * np.sin(9 * epsilons) ** 2), 1), np.log(t))
    assert bound[0] == pytest.approx(1) and bound.min() >= 0
    assert (np.diff(bound) <= 1e-12).all() and (np.diff(bound, 2) >= -1e-12).all()


def test_nothing_overflows() -> None:
    law, epsilons = Law(eta=1, mean=100), np.array([0.0, 5.0, 300.0, 700.0, 5000.0])
    at = np.array([-5000.0, 0.0, 400.0, 800.0, 1e6])
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        bound = profile(law, epsilons, np.array([1.0, 1e-3, 1e-9, 1e-12, 0.0]), at)
        assert log_ratio(law, np.array([800.0]), np.array([0.0])) == pytest.approx(2 * math.log(100))
    np.testing.assert_allclose(bound, [1, 1, 1e-7, 1e-7, 1e-7], rtol=1e-5)


def test_points_in_the_wrong_order_are_a_bug() -> None:
    for epsilons, deltas in (([1.0, 0.5], [0.1, 0.2]), ([-1.0], [0.5]), ([1.0], [-0.1]), ([1.0], [math.nan])):
        with pytest.raises(Violation):
            log_ratio(Law(mean=2), np.array(epsilons), np.array(deltas))


# ---- known costs


def exact_gaussian_epsilon(law: Law, *, means: tuple[float, float]) -> float:
    """Epsilon of the best of K draws of N(., 2^2) with the output as its score, by integration of Q f'(F)."""
    y = np.linspace(-40, 40, 400_001)
    P, Q = (norm.pdf(y, m, 2) * law.derivative(norm.cdf(y, m, 2)) for m in means)
    dy = y[1] - y[0]
    assert P.sum() * dy == pytest.approx(1, abs=1e-6)
    return float(brentq(lambda e: np.maximum(P - math.exp(e) * Q, 0).sum() * dy - DELTA, 0, 10, xtol=1e-9))


# The score -output is the same problem mirrored, with the two means exchanged.
@pytest.mark.parametrize(
    ("eta", "mean", "exact", "f_dp", "renyi"),
    [(0, 10, 2.254, 2.95, 3.64), (0, 100, 2.490, 3.65, 4.33), (1, 10, 2.254, None, None), (1, 100, 2.490, None, None)],
)
def test_gaussian_example(eta: float, mean: float, exact: float, f_dp: float | None, renyi: float | None) -> None:
    law = Law(eta=eta, mean=mean)
    truth = max(exact_gaussian_epsilon(law, means=means) for means in ((0, 1), (1, 0)))
    assert truth == pytest.approx(exact, abs=2e-3)
    orders = np.concatenate([np.arange(1.05, 10, 0.05), np.arange(10, 400)])
    by_profile = epsilon(law, gaussian(np.linspace(0, 12, 4001)))
    by_rdp = compute_epsilon(orders, rdp(law, orders, orders / 8), DELTA)[0]
    assert truth < by_profile < by_rdp
    if f_dp and renyi:
        assert f_dp - 0.02 < by_profile <= f_dp and by_rdp == pytest.approx(renyi, abs=0.01)


@pytest.fixture(scope="module")
def sgd() -> Points:
    """The profile of DP-SGD with q 0.02, sigma 1, 1000 steps: the larger of add and remove."""
    pld = privacy_loss_distribution.from_gaussian_mechanism(
        1.0, sampling_prob=0.02, value_discretization_interval=1e-3
    ).self_compose(1000)
    epsilons = np.arange(0, 20, 2e-3)
    return epsilons, pld.get_delta_for_epsilon(epsilons)


@pytest.mark.parametrize(
    ("eta", "mean", "f_dp", "renyi"),
    [(0, 10, 5.57, 6.801), (0, 100, 6.87, 8.158), (1, 10, 5.89, 7.775), (1, 100, 7.77, 9.876)],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_dp_sgd(sgd: Points, eta: float, mean: float, f_dp: float, renyi: float) -> None:
    law = Law(eta=eta, mean=mean)
    assert f_dp - 0.015 < epsilon(law, sgd) <= f_dp
    epsilons, deltas = sgd
    simple = (1 + eta) * np.log(np.exp(epsilons) + (1 - law.gamma) / law.gamma * deltas).min()
    assert log_ratio(law, *sgd) < simple - 0.2
    base = RdpAccountant()
    base.compose(SGD)
    assert compute_epsilon(base.orders, rdp(law, base.orders, base.rdp), DELTA)[0] == pytest.approx(renyi, abs=1e-3)


@pytest.mark.parametrize(("eta", "mean"), [(0, 1.5), (0, 10), (0.5, 3), (1, 10), (1, 1000), (4, 20)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rdp_is_that_of_dp_accounting_at_every_order(eta: float, mean: float) -> None:
    one, best = RdpAccountant(), RdpAccountant()
    one.compose(SGD)
    best.compose(dpe.RepeatAndSelectDpEvent(SGD, mean, eta))
    np.testing.assert_allclose(rdp(Law(eta=eta, mean=mean), one.orders, one.rdp), best.rdp, rtol=1e-9)


@pytest.mark.parametrize("eta", [-0.5, 0, 1, 2])
def test_pure_privacy_costs_2_plus_eta_times_as_much(eta: float) -> None:
    law = Law(eta=eta, mean=10)
    orders, values = np.array([2.0, 1e9]), np.array([0.7, 0.7])
    assert rdp(law, orders, values)[-1] == pytest.approx((2 + eta) * 0.7, abs=1e-6)
    assert 0.7 + log_ratio(law, np.array([0.7]), np.array([0.0])) <= (2 + eta) * 0.7


@given(st.floats(-0.4, 3), st.floats(1, 50), st.floats(0, 2), st.floats(1, 4))
@settings(max_examples=60, deadline=None)
def test_more_trials_or_a_narrower_law_never_cost_less(eta: float, mean: float, more: float, times: float) -> None:
    points = gaussian(np.linspace(0, 8, 400))
    orders = np.arange(1.5, 200, 0.5)
    measures: list[Callable[[Law], float]] = [
        lambda law: epsilon(law, points),
        lambda law: compute_epsilon(orders, rdp(law, orders, orders / 8), DELTA)[0],
    ]
    for total in measures:
        here = total(Law(eta=eta, mean=mean))
        assert total(Law(eta=eta, mean=mean * times)) >= here - 1e-9
        assert total(Law(eta=eta + more, mean=mean)) >= here - 1e-9
