import numpy as np
import pytest
import torch

from privimage.data.torchvision_shim import import_torchvision
from privimage.errors import InputError
from privimage.metrics import kid as module
from privimage.metrics.kid import kid


def sample(n, d, seed, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


@pytest.mark.parametrize("n", [2, 50, 300])
def test_it_agrees_with_torch_fidelity(n, monkeypatch):
    import_torchvision()
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    monkeypatch.setattr(module, "ROWS", 64)
    a, b = sample(n, 40, 0), sample(n, 40, 1, shift=0.3)
    both = (torch.from_numpy(features.astype(np.float64)) for features in (a, b))
    theirs = kid_features_to_metric(*both, kid_subsets=1, kid_subset_size=n, verbose=False)  # one subset: all of them
    assert kid(a, b) == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-9, abs=1e-12)


def test_it_is_unbiased_whatever_the_numbers_of_images():
    """The mean over draws of one law is 0, also for unequal sides; FID would grow as the sides shrink."""
    values = [kid(sample(12, 5, 2 * i), sample(30, 5, 2 * i + 1)) for i in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20 and min(values) < 0


def test_it_grows_with_the_distance():
    a = sample(200, 10, 0)
    values = [kid(a, sample(100, 10, 1, shift)) for shift in (0.0, 0.3, 1.0)]
    assert values == sorted(values) and values[1] > 0.01


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (sample(1, 4, 0), sample(5, 4, 0), "at least 2 images"),
        (sample(5, 4, 0), sample(5, 3, 0), "shapes"),
        (np.full((5, 4), np.nan), sample(5, 4, 0), "not finite"),
    ],
)
def test_what_has_no_value_is_refused(a, b, says):
    with pytest.raises(InputError, match=says):
        kid(a, b)
