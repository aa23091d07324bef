"""The Renyi divergence of a subsampled Gaussian against Opacus, dp-accounting, and the integral that defines it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants.analysis.rdp import compute_rdp
from scipy.integrate import quad

from privimage.privacy.accounting.rdp import ORDERS
from privimage.privacy.accounting.renyi import divergence

STEPS = st.tuples(st.floats(1e-5, 1), st.floats(0.3, 100))
BELOW_OVERFLOW = 1024  # of the coefficients in Opacus


@pytest.mark.thorough
@given(STEPS)
@settings(max_examples=15, deadline=None)
def test_it_is_that_of_opacus(step: tuple[float, float]) -> None:
    q, sigma = step
    orders = [order for order in ORDERS.tolist() if order <= BELOW_OVERFLOW]
    theirs = compute_rdp(q=q, noise_multiplier=sigma, steps=1, orders=orders)
    ours = [divergence(q=q, sigma=sigma, order=order) for order in orders]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)


@given(STEPS, st.sampled_from([4, 12, 128, 4096]))
@settings(max_examples=15, deadline=None)
def test_at_whole_orders_it_is_that_of_dp_accounting(step: tuple[float, float], order: float) -> None:
    q, sigma = step
    accountant = RdpAccountant([order]).compose(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), 1000)
    ours = 1000 * divergence(q=q, sigma=sigma, order=order) + math.log1p(-1 / order)
    ours -= (math.log(1e-9) + math.log(order)) / (order - 1)
    assert accountant.get_epsilon(1e-9) == pytest.approx(max(ours, 0), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize(
    ("q", "sigma", "order"), [(0.3, 1.0, 1.5), (0.5, 1.0, 3.7), (0.01, 0.7, 6.0), (0.9, 2.0, 3.3), (0.5, 5.0, 20.0)]
)
def test_it_is_the_integral(q: float, sigma: float, order: float) -> None:
    def density(z: float) -> float:
        ratio = 1 - q + q * math.exp((2 * z - 1) / (2 * sigma**2))
        return math.exp(-(z**2) / (2 * sigma**2)) / math.sqrt(2 * math.pi) / sigma * ratio**order

    moment, _ = quad(density, -40 * sigma, 40 * sigma + order, points=[0, order], limit=1000, epsabs=0, epsrel=1e-12)
    assert divergence(q=q, sigma=sigma, order=order) == pytest.approx(math.log(moment) / (order - 1), rel=1e-8)


@pytest.mark.parametrize("q", [0.5, 1.0])
@pytest.mark.parametrize("sigma", [1e-300, 1e-160, 1e-100])
def test_hardly_any_noise_is_infinite_or_very_dear_and_never_nan(q: float, sigma: float) -> None:
    for order in ORDERS.tolist():
        assert divergence(q=q, sigma=sigma, order=order) > 1e150
