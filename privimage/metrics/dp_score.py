"""A differentially private score: train on synthetic images, count correct answers on real ones, with noise.

    count = #{i in validation : classifier(x_i) = y_i} + N(0, sigma^2)

One validation image more or less changes the count by at most 1. The size of the split is public, so that the count
over it is an accuracy. The validation split is disjoint from the training split: the two are charged in parallel.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.data.sets import PrivateSet
from privimage.metrics.classifiers import accuracy
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy


def dp_accuracy(
    x: NDArray[np.uint8],
    y: NDArray[np.int64],
    *,
    classifier: str,
    validation: PrivateSet,
    event: Event,
    entropy: Entropy,
    device: str | torch.device = "cpu",
) -> Release[float]:
    """The noisy share of `validation` that a classifier trained on (x, y) gets right; it may leave [0, 1]."""
    validation.must_be(event.split)
    right = round(accuracy(x, y, classifier=classifier, test=validation, by=event, device=device) * len(validation))
    noisy = event.perturb(np.array(right), sensitivity=1.0, stream=entropy.stream("score"))
    return Release(value=float(noisy) / len(validation), events=(event,))
