"""Train on synthetic images, score on the real test split. One seed, the last step scored, nothing selected.

`lr` logistic regression, `mlp` one hidden layer of 100, `cnn` a small convolutional network. All three are
bounded in iterations, so that a score costs seconds and does not depend on the machine's speed. The classifiers of the
paper, which are trained until they are done, are in `paper_classifiers`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from privimage.data.placed import placed
from privimage.data.sets import Images, PrivateSet
from privimage.device import held, onto
from privimage.errors import InputError
from privimage.metrics import paper_classifiers
from privimage.metrics.variants import CLASSIFIERS, PAPER
from privimage.privacy.budget import Event
from privimage.privacy.looks import Seen, may_read

STEPS, BATCH, LEARNING_RATE, SHIFT = 225, 128, 4e-3, 2  # of the CNN; SHIFT in pixels each way
LR_ITERATIONS, MLP_EPOCHS = 40, 30


def accuracy(
    x: NDArray[np.uint8],
    y: NDArray[np.int64],
    *,
    classifier: str,
    test: PrivateSet,
    by: Event | Seen,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> float:
    """The share of `test` that a classifier trained on (x, y) gets right. Leaves global RNG state alone.

    `by` is what allows to read `test`: the event that noises the answer, or the look that was written down.
    """
    may_read(test, by)
    if classifier not in (*CLASSIFIERS, *PAPER):
        raise InputError(f"classifier '{classifier}': unknown; known: {', '.join((*CLASSIFIERS, *PAPER))}")
    labels = np.unique(y)
    if len(labels) == 1:  # sklearn refuses one class, and any classifier would answer it
        guess = np.full(len(test), labels[0])
    elif classifier in ("cnn", "paper-cnn"):
        train = _train_cnn if classifier == "cnn" else paper_classifiers.train_resnet9
        net = train(x, y, n_classes=len(test.classes), device=torch.device(device), seed=seed)
        guess = _guesses(test, partial(_predict_cnn, net, device=torch.device(device)))
    else:
        model = _sklearn(classifier, seed).fit(_flat(x), y)
        guess = _guesses(test, lambda block: model.predict(_flat(block)))
    return float((guess == test.y).mean())


def _guesses(test: Images, predict: Callable[[NDArray[np.uint8]], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Labels [n], each of which follows from its image alone: a score counts those that are right."""
    guess = np.empty(len(test), np.int64)
    for batch in placed(test):
        guess[batch.index] = predict(batch.x)[batch.row]
    return guess


class _Bounded:
    """A classifier of sklearn that may stop at its iteration bound without a warning."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> _Bounded:
        """Itself, trained."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(x, y)
        return self

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Labels [n]."""
        return np.asarray(self.model.predict(x), np.int64)


def _sklearn(classifier: str, seed: int) -> _Bounded:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if classifier in PAPER:
        return _Bounded(paper_classifiers.of_sklearn(classifier, seed))
    if classifier == "lr":
        return _Bounded(LogisticRegression(max_iter=LR_ITERATIONS, C=0.1))
    return _Bounded(MLPClassifier(hidden_layer_sizes=(100,), max_iter=MLP_EPOCHS, random_state=seed))


def _flat(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    return x.reshape(len(x), -1).astype(np.float32) / np.float32(255)


def _cnn(channels: int, n_classes: int) -> nn.Sequential:
    """A network for any side from 8 pixels: halves it three times, then pools to 3 x 3."""

    def block(i: int, o: int, kernel: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    return nn.Sequential(
        *block(channels, 16, 5, 2), *block(16, 32, 3, 1), nn.MaxPool2d(2), *block(32, 64, 3, 1),
        nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(576, n_classes),
    )  # fmt: skip


def _train_cnn(
    x: NDArray[np.uint8], y: NDArray[np.int64], *, n_classes: int, device: torch.device, seed: int
) -> nn.Sequential:
    """The network after STEPS steps. Random shifts are its only augmentation."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's only, restored on leaving
        net = _cnn(x.shape[1], n_classes).to(device).train()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast
    rng, images_at, labels_at = np.random.default_rng(seed), held(device, x), held(device, y)
    adam = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=1e-2, fused=True)
    for step in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = LEARNING_RATE * min(1, 2 * (1 - step / STEPS) + 0.01)
        index = rng.integers(0, len(x), BATCH)
        images = _shifted(_unit(images_at(index)), *rng.integers(0, 2 * SHIFT + 1, 2))
        loss = functional.cross_entropy(net(images), labels_at(index), label_smoothing=0.05)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    return net.eval()


def _shifted(images: Tensor, down: int, right: int) -> Tensor:
    """The images moved by up to SHIFT pixels, edges repeated; one shift a batch."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (SHIFT,) * 4, mode="replicate")
    return padded[:, :, down : down + height, right : right + width].contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _predict_cnn(net: nn.Module, x: NDArray[np.uint8], *, device: torch.device) -> NDArray[np.int64]:
    guess: NDArray[np.int64] = net(_unit(onto(device, torch.from_numpy(x)))).argmax(1).cpu().numpy()
    return guess


def _unit(x: Tensor) -> Tensor:
    return x.float() / 255
