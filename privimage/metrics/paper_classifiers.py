"""The classifiers of PrivImage, section 5.1, with the settings of its published evaluation.

`paper-lr`   logistic regression by L-BFGS, at most 50,000 iterations
`paper-mlp`  one hidden layer of 100, at most 1,000 epochs
`paper-cnn`  ResNet9, SGD at rate 0.1 with momentum 0.9, weight decay 5e-4 and a cosine, 50 epochs of batches of 512,
             images flipped half of the time
The last epoch is scored, once, on the real test split. How images are scaled is not said there: to [0, 1] for the first
two, to [-1, 1] for the network. They are for 50,000 images and a GPU: with fewer images than a batch, a batch is all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from privimage.device import held, onto

LR_ITERATIONS, MLP_EPOCHS = 50_000, 1000
EPOCHS, BATCH, LEARNING_RATE, MOMENTUM, DECAY = 50, 512, 0.1, 0.9, 5e-4
WIDTH = 64
SCALE = 0.2  # of the logits
SMALL = 11  # pixels a side below which the last layer needs a border


def of_sklearn(classifier: str, seed: int) -> Any:
    """`paper-lr` or `paper-mlp`, to be fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if classifier == "paper-lr":
        return LogisticRegression(solver="lbfgs", max_iter=LR_ITERATIONS)
    return MLPClassifier(hidden_layer_sizes=(100,), max_iter=MLP_EPOCHS, random_state=seed)


class _Around(nn.Module):
    """Layers whose output is added to what they were given."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        out: Tensor = x + self.layers(x)
        return out


class ResNet9(nn.Module):
    """Eight convolutions, two pairs of them with a bypass, and a linear layer: for images [b, c, h, w] in [0, 1]."""

    def __init__(self, *, channels: int, side: int, n_classes: int) -> None:
        super().__init__()
        w = WIDTH
        self.layers = nn.Sequential(
            *_convolution(channels, w), *_convolution(w, 2 * w, kernel=5, stride=2),
            _Around(*_convolution(2 * w, 2 * w), *_convolution(2 * w, 2 * w)),
            *_convolution(2 * w, 4 * w), nn.MaxPool2d(2),
            _Around(*_convolution(4 * w, 4 * w), *_convolution(4 * w, 4 * w)),
            *_convolution(4 * w, 2 * w, border=side < SMALL), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
            nn.Linear(2 * w, n_classes, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits [b, n_classes]."""
        out: Tensor = SCALE * self.layers(2 * x - 1)
        return out


def _convolution(i: int, o: int, *, kernel: int = 3, stride: int = 1, border: bool = True) -> list[nn.Module]:
    padding = kernel // 2 if border else 0
    return [nn.Conv2d(i, o, kernel, stride, padding, bias=False), nn.BatchNorm2d(o), nn.ReLU()]


def train_resnet9(
    x: NDArray[np.uint8], y: NDArray[np.int64], *, n_classes: int, device: torch.device, seed: int
) -> ResNet9:
    """The network after its last epoch, for evaluation. Leaves global RNG state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = ResNet9(channels=x.shape[1], side=min(x.shape[2:]), n_classes=n_classes).to(device).train()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rng, images_at, labels_at = np.random.default_rng(seed), held(device, x), held(device, y)
    sgd = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=DECAY)
    steps = max(1, len(x) // BATCH)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, EPOCHS * steps)
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for index in np.array_split(order, steps):
            images = images_at(index).float() / 255
            flip = onto(device, torch.from_numpy(rng.random(len(index)) < 0.5))[:, None, None, None]
            loss = functional.cross_entropy(net(torch.where(flip, images.flip(3), images)), labels_at(index))
            sgd.zero_grad(set_to_none=True)
            loss.backward()
            sgd.step()
            cosine.step()
    return net.eval()
