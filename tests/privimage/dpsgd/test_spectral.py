import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.dpsgd.spectral import SpectralDescent, kept_directions


def noise(a: int, b: int, seed: int) -> torch.Tensor:
    return torch.randn(a, b, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(a=st.integers(20, 80), b=st.integers(20, 80), seed=st.integers(0, 99))
def test_a_matrix_of_noise_gets_next_to_no_step(a: int, b: int, seed: int) -> None:
    kept = kept_directions(noise(a, b, seed) * 3.0, noise_std=3.0)
    assert torch.linalg.matrix_rank(kept) <= 2  # the largest singular value fluctuates around the edge


def test_a_strong_direction_in_noise_is_found_and_has_length_one() -> None:
    u, v = torch.nn.functional.normalize(noise(2, 60, 7), dim=1)
    kept = kept_directions(20.0 * torch.outer(u, v) + noise(60, 60, 1), noise_std=1.0)
    assert torch.linalg.matrix_norm(kept, 2) == pytest.approx(1.0, abs=1e-4)
    assert float(u @ kept @ v) > 0.8


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 7), (7, 1)])
def test_without_noise_it_is_the_orthogonal_factor(shape: tuple[int, int]) -> None:
    M = noise(*shape, 3).double()
    U, _, V = torch.linalg.svd(M, full_matrices=False)
    assert torch.allclose(kept_directions(M, noise_std=0.0), U @ V, atol=1e-6)


def test_an_edge_below_one_keeps_more() -> None:
    M = noise(64, 64, 5)
    parameter = torch.nn.Parameter(torch.zeros(64, 64))
    moved = []
    for edge in (1.1, 0.5):
        parameter.data.zero_()
        parameter.grad = M.clone()
        SpectralDescent([parameter], lr=1.0, momentum=0.8, noise_std=1.0, edge=edge).step()
        moved.append(float(parameter.norm()))
    assert moved[0] == 0.0
    assert moved[1] > 3


def test_the_noise_of_the_momentum_is_tracked_exactly() -> None:
    """Pure noise of the stated level never moves a parameter far, at any step: its momentum's level is known."""
    parameter = torch.nn.Parameter(torch.zeros(60, 40))
    optimizer = SpectralDescent([parameter], lr=1.0, momentum=0.8, noise_std=0.5, edge=1.1)
    rng = torch.Generator().manual_seed(0)
    for _ in range(12):
        parameter.grad = torch.randn(60, 40, generator=rng) * 0.5
        optimizer.step()
    assert float(parameter.norm()) == 0.0


def test_zero_gradient_moves_nothing() -> None:
    assert kept_directions(torch.zeros(4, 6), noise_std=0.0).abs().max() == 0
