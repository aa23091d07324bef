"""The law of K against its definition, scipy's laws, the generating function, and what its sampler draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import entropy
from scipy.stats import chisquare, geom, logser, nbinom

from privimage.errors import InputError
from privimage.privacy.accounting.law import Law
from privimage.schema import parse

LAWS = [Law(eta=eta, mean=mean) for eta in (-0.5, 0, 0.3, 1, 4) for mean in (1, 1.001, 2, 10, 30)]
laws = st.builds(Law, eta=st.floats(-0.5, 5), mean=st.floats(1, 60))


def support(law: Law) -> np.ndarray:
    """Integers beyond which K hardly ever lies, found without the law's own table."""
    return np.arange(1, int(60 * (1 + law.eta + 1) / law.gamma) + 2)


@given(laws)
@settings(max_examples=30, deadline=None)
def test_probabilities_sum_to_one_and_have_the_mean(law: Law) -> None:
    k = support(law)
    p = law.pmf(k)
    assert p.min() >= 0 and p.sum() == pytest.approx(1, abs=1e-10)
    assert (k * p).sum() == pytest.approx(law.mean, rel=1e-10)
    assert 0 < law.gamma <= 1
    assert law.pmf([-1, 0]).tolist() == law.cdf([-1, 0]).tolist() == [0, 0]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_definition_1_as_it_is_printed(law: Law) -> None:
    eta, gamma = law.eta, law.gamma
    if law.mean == 1:
        assert gamma == 1 and law.pmf([1, 2]).tolist() == [1, 0]
        return
    for k in (1, 2, 3, 10, 40):
        if eta == 0:
            expected = (1 - gamma) ** k / (k * math.log(1 / gamma))
        else:
            product = math.prod((i + eta) / (i + 1) for i in range(k))
            expected = (1 - gamma) ** k / (gamma**-eta - 1) * product
        assert law.pmf(k) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mean", [1.2, 10, 1e4])
def test_named_laws_are_scipys(mean: float) -> None:
    k = np.array([1, 2, 5, 30, 1000])
    log, geometric, other = (Law(eta=eta, mean=mean) for eta in (0, 1, 2.5))
    np.testing.assert_allclose(log.pmf(k), logser.pmf(k, 1 - log.gamma), rtol=1e-9)
    np.testing.assert_allclose(geometric.pmf(k), geom.pmf(k, 1 / mean), rtol=1e-9)
    truncated = nbinom.pmf(k, 2.5, other.gamma) / nbinom.sf(0, 2.5, other.gamma)
    np.testing.assert_allclose(other.pmf(k), truncated, rtol=1e-9)
    np.testing.assert_allclose(geometric.cdf(k), geom.cdf(k, 1 / mean), rtol=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_derivative_of_the_generating_function(law: Law) -> None:
    k = support(law)
    p, h = law.pmf(k), 1e-5
    x = np.array([0.1, 0.5, 0.9, 0.99])
    slope = [float((p * ((a + h) ** k - (a - h) ** k)).sum()) / (2 * h) for a in x]
    np.testing.assert_allclose(law.derivative(x), slope, rtol=2e-4)
    assert law.derivative(1.0) == pytest.approx(law.mean)
    assert law.derivative(0.0) == pytest.approx(law.pmf(1))


@pytest.mark.parametrize(
    ("eta", "first", "quantiles"), [(0, 0.27, [4, 26, 81]), (1, 0.10, [7, 22, 44])], ids=["logarithmic", "geometric"]
)
def test_quantiles_at_mean_ten(eta: float, first: float, quantiles: list[int]) -> None:
    law = Law(eta=eta, mean=10)
    assert law.pmf(1) == pytest.approx(first, abs=0.005)
    assert law.quantile([0.5, 0.9, 0.99]).tolist() == quantiles


@given(laws, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_the_quantile_is_the_smallest_k_that_reaches_p(law: Law, p: list[float]) -> None:
    k = law.quantile(p)
    assert (law.cdf(k) >= p).all()
    assert ((law.cdf(k - 1) < p) | (k == 1)).all()


@pytest.mark.parametrize("mean", [1.0, 1.01, 10, 1000])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_law_is_continuous_in_eta(mean: float, eta: float) -> None:
    at = Law(eta=eta, mean=mean)
    for near in (1e-15, 1e-12, 1e-9, -1e-15, -1e-12, -1e-9):
        beside = Law(eta=eta + near, mean=mean)
        assert beside.gamma == pytest.approx(at.gamma, rel=1e-7)
        np.testing.assert_allclose(beside.pmf([1, 2, 50]), at.pmf([1, 2, 50]), rtol=1e-7)


@pytest.mark.parametrize("law", [Law(mean=10), Law(eta=1, mean=3), Law(eta=-0.5, mean=4)], ids=str)
@pytest.mark.parametrize("shift", [0, 224], ids=["low bits", "high bits"])
@pytest.mark.thorough
def test_draws_follow_the_law_over_any_32_bits_of_the_entropy(law: Law, shift: int) -> None:
    n = 3000
    counts = np.bincount([law.draw(entropy(i << shift)) for i in range(n)])[1:]
    bins = 1 + int(np.flatnonzero(n * law.pmf(np.arange(1, 50)) >= 8)[-1])
    expected = n * np.append(law.pmf(np.arange(1, bins + 1)), 1 - law.cdf(bins))
    assert chisquare(np.append(counts[:bins], counts[bins:].sum()), expected).pvalue > 1e-3
    assert chisquare(np.append(counts[:bins], counts[bins:].sum()), np.roll(expected, 1)).pvalue < 1e-9


def test_a_draw_is_a_function_of_the_entropy_and_one_trial_is_one_trial() -> None:
    law = Law(mean=10)
    assert [law.draw(entropy(e)) for e in (5, 2**256 - 1)] == [law.draw(entropy(e)) for e in (5, 2**256 - 1)]
    assert {type(law.draw(entropy(e))) for e in range(3)} == {int}
    assert {Law(eta=2, mean=1).draw(entropy(e)) for e in range(50)} == {1}


@pytest.mark.parametrize(("eta", "mean"), [(-0.9, 100), (-0.99, 2), (0, 1e6)])
def test_a_tail_that_nobody_could_run_is_refused(eta: float, mean: float) -> None:
    with pytest.raises(InputError, match="could be millions; raise eta or lower the mean"):
        parse(Law, {"eta": eta, "mean": mean})


@pytest.mark.parametrize("values", [{"eta": -1, "mean": 2}, {"mean": 0.9}, {}, {"mean": math.inf}])
def test_values_that_are_no_law_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError):
        parse(Law, values)


def test_in_words() -> None:
    assert str(Law(mean=10)) == "K ~ logarithmic law with mean 10"
    assert str(Law(eta=1, mean=2.5)) == "K ~ geometric law with mean 2.5"
    assert str(Law(eta=0.5, mean=3)) == "K ~ truncated negative binomial law (eta 0.5) with mean 3"
    assert str(Law(mean=1)) == "K = 1"
