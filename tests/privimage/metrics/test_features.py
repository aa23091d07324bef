import numpy as np
import pytest
import torch

from privimage.data.sources.digits import read_digits
from privimage.errors import InputError
from privimage.metrics.features import _network, features
from privimage.metrics.frechet import Statistics
from privimage.metrics.frechet import distance as fid

NET = "efficientnet-lite0"


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_noise_moves_digits_away_in_order():
    x, y = read_digits()
    index = np.random.default_rng(0).permutation(len(y))
    real, other = x[index[:100]], x[index[100:200]]
    noise = np.random.default_rng(1).normal(size=other.shape)
    versions = [np.clip(other + sd * noise, 0, 255).astype(np.uint8) for sd in (0, 10, 25, 64)]
    reference = Statistics.of(features(real, network=NET))
    distances = [fid(reference, Statistics.of(features(v, network=NET))) for v in versions]
    assert distances == sorted(distances) and distances[1] > 3 * distances[0], distances


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (3, 3, 32, 32), (3, 3, 64, 64)])
def test_every_kind_of_image_has_1280_features(shape):
    out = features(images(*shape), network=NET)
    assert out.shape == (3, 1280) and out.dtype == np.float32 and np.isfinite(out).all()


def test_grey_is_repeated_and_batches_do_not_matter():
    x = images(5, 1, 28, 28)
    whole = features(x, network=NET)
    np.testing.assert_allclose(whole, features(x.repeat(3, 1), network=NET, batch=2), atol=1e-4)


def test_loading_a_network_leaves_the_random_state_alone():
    _network.cache_clear()
    before = torch.get_rng_state()
    features(images(2, 1, 28, 28), network=NET)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("x", [images(0, 1, 8, 8), images(2, 2, 8, 8), np.zeros((2, 1, 8, 8), np.float32)])
def test_other_arrays_are_refused(x):
    with pytest.raises(InputError, match="expected uint8"):
        features(x, network=NET)


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match="known: efficientnet-lite0, inception"):
        features(images(2, 1, 8, 8), network="resnet")
