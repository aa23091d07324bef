from types import SimpleNamespace

import numpy as np
import pytest
import torch

from privimage.metrics.efficientnet import load_efficientnet
from privimage.metrics.features import SIDE, classified, features
from privimage.metrics.inception_score import InceptionScore

LITE = "efficientnet-lite0"


def score(logits):
    return InceptionScore().measure(LITE, SimpleNamespace(logits=lambda network: logits))


def by_loops(logits):
    """The mean over ten parts of the exponential of the mean divergence of an image's classes from its part's."""
    order = np.random.RandomState(2020).permutation(len(logits))
    scores = []
    for part in np.split(logits[order], [i * len(logits) // 10 for i in range(1, 10)]):
        p = np.exp(part) / np.exp(part).sum(1, keepdims=True)
        q = p.mean(0)
        scores.append(np.exp(np.mean([sum(row * np.log(row / q)) for row in p])))
    return np.mean(scores)


@pytest.mark.parametrize("n", [10, 33, 120])
def test_it_is_what_loops_find(n):
    logits = np.random.default_rng(n).normal(size=(n, 7)) * 2
    assert score(logits) == pytest.approx(by_loops(logits))


def test_it_reaches_from_one_to_the_number_of_classes():
    assert score(np.zeros((50, 8))) == pytest.approx(1)
    every = np.concatenate([np.eye(5)[np.random.RandomState(2020).permutation(50).argsort() % 5]]) * 100
    assert score(every) == pytest.approx(5)  # each of ten parts of five images has each class once


def test_what_efficientnet_would_answer_follows_from_its_features():
    x = np.random.default_rng(0).integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8)
    with torch.no_grad():
        theirs = load_efficientnet().eval()((torch.from_numpy(x).float() - 127) / 128)
    mine = classified(features(x, network=LITE), network=LITE)
    assert mine.shape == (3, 1000) and mine == pytest.approx(theirs.numpy(), abs=1e-3)
