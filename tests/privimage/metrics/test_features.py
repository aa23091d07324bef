from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from privimage.data.digits import read_digits
from privimage.errors import InputError
from privimage.metrics.features import _network, features
from privimage.metrics.fid import Statistics, fid
from privimage.torchvision_shim import import_torchvision

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


@pytest.fixture
def inception_module(monkeypatch, tmp_path):
    import_torchvision()
    from torch_fidelity import feature_extractor_inceptionv3 as module

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    _network.cache_clear()
    yield module
    _network.cache_clear()


def test_inception_without_weights_says_how_to_get_them(inception_module, monkeypatch):
    def offline(*_args, **_keywords):
        raise URLError("offline")

    monkeypatch.setattr(inception_module, "load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"fetch https://.* to .*inception") as error:
        features(images(2, 1, 8, 8), network="inception")
    assert "\n" not in str(error.value)


def test_inception_refuses_a_file_that_is_not_its_weights(inception_module, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        features(images(2, 1, 8, 8), network="inception", weights=tmp_path / "none.pth")
    hostile, other = tmp_path / "hostile.pth", tmp_path / "other.pth"
    torch.save({"path": Path("x")}, hostile)  # an object, not a tensor: would have to be unpickled
    torch.save({"w": torch.zeros(1)}, other)
    with pytest.raises(InputError, match="not a file of tensors"):
        features(images(2, 1, 8, 8), network="inception", weights=hostile)
    with pytest.raises(InputError, match="does not hold"):
        features(images(2, 1, 8, 8), network="inception", weights=other)


def test_inception_reads_a_local_file(inception_module, monkeypatch, tmp_path):
    kind = inception_module.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:  # its constructor insists on weights: give it none to make some
        patch.setattr(inception_module, "load_state_dict_from_url", lambda *_a, **_k: {})
        patch.setattr(kind, "load_state_dict", lambda *_a, **_k: None)
        state = kind("make", ["2048"], verbose=False).state_dict()
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    out = features(images(2, 1, 28, 28), network="inception", weights=path)
    assert out.shape == (2, 2048) and np.isfinite(out).all()
