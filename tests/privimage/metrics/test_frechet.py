import numpy as np
import pytest

from privimage.data.torchvision_shim import import_torchvision
from privimage.errors import InputError
from privimage.metrics.frechet import Statistics
from privimage.metrics.frechet import distance as fid


def gaussian(mean, covariance):
    return Statistics(mean=np.array(mean, float), covariance=np.array(covariance, float), n=100)


def sample(n, d, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_one_dimension_is_the_closed_form():
    assert fid(gaussian([1], [[4]]), gaussian([3], [[9]])) == pytest.approx((3 - 1) ** 2 + (3 - 2) ** 2)


def test_two_dimensions_are_the_closed_form():
    # for 2 x 2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), also when the covariances do not commute
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    m = a @ b
    overlap = np.sqrt(np.trace(m) + 2 * np.sqrt(np.linalg.det(m)))
    expected = 0.25 + 1 + np.trace(a) + np.trace(b) - 2 * overlap
    assert fid(gaussian([0, 0], a), gaussian([0.5, -1], b)) == pytest.approx(expected)


@pytest.mark.parametrize("n", [40, 400])  # fewer images than features, and more
def test_identical_sets_are_at_distance_zero(n):
    a = Statistics.of(sample(n, 100, 0))
    assert 0 <= fid(a, a) < 1e-6 * np.trace(a.covariance)


def test_the_distance_is_symmetric():
    a, b = Statistics.of(sample(200, 50, 0)), Statistics.of(sample(300, 50, 1))
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-9)


@pytest.mark.parametrize("n", [60, 500])
def test_it_agrees_with_torch_fidelity(n):
    import_torchvision()
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    a, b = Statistics.of(sample(n, 100, 0)), Statistics.of(sample(n, 100, 1))
    theirs = fid_statistics_to_metric(
        {"mu": a.mean, "sigma": a.covariance}, {"mu": b.mean, "sigma": b.covariance}, False
    )
    assert fid(a, b) == pytest.approx(theirs[KEY_METRIC_FID], rel=1e-6)


def test_features_that_never_vary_change_nothing_but_their_mean():
    x, y = sample(50, 6, 0), sample(50, 6, 1)
    plain = fid(Statistics.of(x), Statistics.of(y))
    x0, y0 = np.pad(x, ((0, 0), (0, 3))), np.pad(y, ((0, 0), (0, 3)))
    y0[:, 6] = 2
    assert fid(Statistics.of(x0), Statistics.of(y0)) == pytest.approx(plain + 4)
    x0[:, 7], y0[:, 8] = x[:, 0], y[:, 0]  # these vary on one side only
    ab, ba = fid(Statistics.of(x0), Statistics.of(y0)), fid(Statistics.of(y0), Statistics.of(x0))
    assert ab == pytest.approx(ba) and ab >= plain + 4


def test_statistics_survive_a_store():
    a, b = Statistics.of(sample(20, 5, 0)), Statistics.of(sample(20, 5, 1))
    again = Statistics.from_arrays(a.arrays)
    assert again.n == 20 and fid(again, b) == fid(a, b)


def test_constant_features_have_a_distance():
    assert fid(Statistics.of(np.zeros((5, 3))), Statistics.of(np.ones((5, 3)))) == pytest.approx(3)


@pytest.mark.parametrize("features", [np.zeros((1, 3)), np.zeros((0, 3)), np.full((5, 3), np.nan)])
def test_what_has_no_covariance_is_refused(features):
    with pytest.raises(InputError):
        Statistics.of(features)


def test_different_networks_are_never_compared():
    with pytest.raises(InputError, match="one feature network"):
        fid(Statistics.of(sample(9, 3, 0)), Statistics.of(sample(9, 4, 0)))
