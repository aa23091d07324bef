"""EDM against its formulas and against a case with a known answer: Gaussian data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from privimage.generators.edm import EDM, denoise, grid, loss, sample
from privimage.generators.generator import SampleConfig

SD = 0.5
CONSTANTS = EDM(sigma_data=SD)


def gaussian(c: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
    """The F for which D is the exact denoiser of N(0, SD^2): zero, as c_skip is the Wiener filter."""
    return torch.zeros_like(c)


def shifted(c: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
    """The exact F for data N(label - 1, SD^2), by inverting eq. 7."""
    sigma = (4 * c_noise).exp()[:, None]
    v = sigma**2 + SD**2
    mean = (label[:, None] - 1).to(c.dtype)
    x = c * v.sqrt()
    D = mean + SD**2 / v * (x - mean)
    return (D - SD**2 / v * x) / (sigma * SD / v.sqrt())


def batch(n: int = 500) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, torch.arange(n) % 3


def test_denoiser_is_the_identity_without_noise_and_the_network_at_high_noise() -> None:
    x, label = batch(5)
    low = denoise(gaussian, x, torch.full((5,), 1e-6, dtype=torch.float64), label, sigma_data=SD)
    torch.testing.assert_close(low, x)
    high = denoise(lambda c, _, __: torch.ones_like(c), x, torch.full((5,), 1e6), label, sigma_data=SD)
    torch.testing.assert_close(high, torch.full_like(x, SD), atol=1e-4, rtol=1e-4)


def test_untrained_loss_is_one_on_average_at_every_noise_level() -> None:
    z, n = SD * batch(20_000)[0], torch.randn(20_000, 4, generator=torch.Generator().manual_seed(1)).double()
    label = torch.zeros(20_000, dtype=torch.long)
    for sigma in (0.01, 0.5, 20.0):
        each = loss(gaussian, z, n, torch.full((20_000,), sigma, dtype=torch.float64), label, edm=CONSTANTS)
        assert each.shape == (20_000,)
        assert each.mean().item() == pytest.approx(1, abs=0.03)


def test_loss_of_one_draw_depends_on_that_draw_only() -> None:
    z, label = batch(6)
    n, sigma = torch.ones_like(z), torch.linspace(0.1, 2, 6).double()
    each = loss(shifted, z, n, sigma, label, edm=CONSTANTS)
    alone = loss(shifted, z[2:3], n[2:3], sigma[2:3], label[2:3], edm=CONSTANTS)
    torch.testing.assert_close(each[2:3], alone)


@pytest.mark.parametrize("solver", ["dpm++2m", "euler"])
def test_samples_have_the_law_of_the_data(solver: str) -> None:
    config = SampleConfig(solver=solver, steps=60, sigma_max=80, sigma_min=0.002, rho=7, guidance=0)  # type: ignore[arg-type]
    x, label = batch(6000)
    out = sample(lambda sigma: shifted, x, label, null=1, config=config, sigma_data=SD)
    for y in range(3):
        assert out[label == y].mean().item() == pytest.approx(y - 1, abs=0.05)
        assert out[label == y].std().item() == pytest.approx(SD, rel=0.06)


def test_guidance_moves_away_from_no_label() -> None:
    x, label = batch(300)
    base = {"steps": 20, "sigma_max": 20, "sigma_min": 0.05}
    plain, guided = (
        sample(lambda sigma: shifted, x, label, null=1, config=SampleConfig(**base, guidance=w), sigma_data=SD)
        for w in (0, 1)
    )
    assert guided[label == 2].mean() > plain[label == 2].mean() + 0.2
    torch.testing.assert_close(guided[label == 1], plain[label == 1])


def test_grid_falls_to_zero_between_the_given_ends() -> None:
    t = grid(SampleConfig(steps=9, sigma_max=10, sigma_min=0.1, rho=5))
    assert len(t) == 10 and t[0].item() == pytest.approx(10) and t[-2].item() == pytest.approx(0.1) and t[-1] == 0
    assert (t[:-1] > t[1:]).all()


def test_where_coordinates_differ_in_spread_each_counts_in_proportion_to_it() -> None:
    spread = torch.tensor([8.0, 1.0, 0.5, 0.5], dtype=torch.float64)
    z, n = spread * batch(40_000)[0], torch.randn(40_000, 4, generator=torch.Generator().manual_seed(1)).double()
    label, edm = torch.zeros(40_000, dtype=torch.long), EDM(sigma_data=spread)
    for sigma in (0.01, 0.7, 30.0):
        level = torch.full((40_000,), sigma, dtype=torch.float64)
        assert loss(gaussian, z, n, level, label, edm=edm).mean().item() == pytest.approx(1, abs=0.03)
    z[:, 0] *= 2  # a coordinate is as far again as it is known to be: what is too much has 8 / 10 of the weight
    more = loss(gaussian, z, n, torch.full((40_000,), 30.0, dtype=torch.float64), label, edm=edm).mean().item()
    assert more == pytest.approx(1 + 3 * 0.8 * 30**2 / (30**2 + 8**2), rel=0.03)


def test_sampling_of_a_gaussian_whose_coordinates_differ_in_spread_gives_it_back() -> None:
    spread = torch.tensor([30.0, 1.0, 0.1, 0.1], dtype=torch.float64)
    n = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    config = SampleConfig(steps=40, sigma_max=20.0, sigma_min=0.005, guidance=0.0)
    x = sample(
        lambda sigma: gaussian, n, torch.zeros(20_000, dtype=torch.long), null=3, config=config, sigma_data=spread
    )
    torch.testing.assert_close(x.std(0), spread, rtol=0.05, atol=0)
