import numpy as np
import pytest
import torch
from quick import first

from privimage.data.sets import PrivateSet
from privimage.data.sources.digits import read_digits
from privimage.errors import InputError
from privimage.metrics import classifiers as module
from privimage.metrics.classifiers import accuracy
from privimage.privacy.looks import Seen

DIGITS = tuple("0123456789")

SEEN = Seen(split="test")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small layers: more threads only wait for each other on a busy machine
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits():
    x, y = read_digits()
    index = np.random.default_rng(0).permutation(len(y))
    test = PrivateSet(x=x[index[4000:]], y=y[index[4000:]], name="digits", id="d", split="test", classes=DIGITS)
    return x[index[:2000]], y[index[:2000]], test


def small(shape, n=40, classes=4, seed=0):
    """Images whose brightness is their class, and a test split of them."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = (y[:, None, None, None] * 60 + rng.integers(0, 20, (n, *shape))).astype(np.uint8)
    return x, y, PrivateSet(x=x, y=y, name="s", id="s", split="test", classes=tuple("abcd"[:classes]))


@pytest.mark.parametrize(("classifier", "floor"), first([("lr", 0.85), ("cnn", 0.93)]))
def test_real_digits_are_learned(digits, classifier, floor, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 100)  # 225 score 0.977
    x, y, test = digits
    assert accuracy(x, y, classifier=classifier, test=test, by=SEEN) > floor


def test_the_hidden_layer_learns(digits):
    x, y, test = digits
    assert accuracy(x[:1000], y[:1000], classifier="mlp", test=test, by=SEEN) > 0.85


@pytest.mark.parametrize("classifier", first(module.CLASSIFIERS))
def test_random_labels_give_chance(digits, classifier, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 60)
    x, y, test = digits
    shuffled = np.random.default_rng(1).permutation(y)
    assert accuracy(x[:500], shuffled[:500], classifier=classifier, test=test, by=SEEN) < 0.2


@pytest.mark.parametrize("classifier", module.CLASSIFIERS)
def test_the_global_random_state_is_left_alone_and_the_score_repeats(classifier, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 5)
    x, y, test = small((1, 28, 28))
    before = torch.get_rng_state(), np.random.get_state()
    first = accuracy(x, y, classifier=classifier, test=test, by=SEEN)
    torch.rand(3), np.random.rand(3)
    torch.set_rng_state(before[0])
    np.random.set_state(before[1])
    assert accuracy(x, y, classifier=classifier, test=test, by=SEEN) == first
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1][1])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_the_network_takes_every_shape(shape, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 3)
    x, y, test = small(shape)
    assert 0 <= accuracy(x, y, classifier="cnn", test=test, by=SEEN) <= 1


@pytest.mark.parametrize("classifier", module.CLASSIFIERS)
def test_missing_classes_and_constant_images_are_scored(classifier, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 3)
    x, y, test = small((1, 8, 8))
    some = y < 2
    assert accuracy(x[some], y[some], classifier=classifier, test=test, by=SEEN) <= 0.5
    assert accuracy(x[y == 1], y[y == 1], classifier=classifier, test=test, by=SEEN) == 0.25
    assert accuracy(np.zeros_like(x), y, classifier=classifier, test=test, by=SEEN) <= 0.5


def test_an_unknown_classifier_is_refused():
    x, y, test = small((1, 8, 8))
    with pytest.raises(InputError, match="known: lr, mlp, cnn"):
        accuracy(x, y, classifier="svm", test=test, by=SEEN)
