"""The networks that a query function can be: a small one, and those of torchvision.

cnn              three convolutions; images as they are
resnet18 .. 50   He et al. 2016. Trained here it sees 32 pixels, with a first convolution of 3x3 and no pooling behind
                 it, as is usual at that size (PrivImage, section C.2, and its code). Weights of torchvision have the
                 first convolution of 7x7 that sees 224 pixels, with the mean and the standard deviation of ImageNet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.data.torchvision_shim import import_torchvision
from privimage.query import QueryNetwork

SIDE, PUBLISHED_SIDE = 32, 224  # pixels that a residual network sees
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what torchvision's weights are made for
GRID = 4  # cells a side in which the layers of a residual network are told
FIRST = "net.conv1.weight"


class Small(nn.Sequential):
    """A small convolutional classifier; logits [B, n_classes] of images [B, channels, H, W] in [0, 1]."""

    def __init__(self, *, channels: int, n_classes: int) -> None:
        def block(i: int, o: int, kernel: int) -> list[nn.Module]:
            return [nn.Conv2d(i, o, kernel, 2, kernel // 2), nn.BatchNorm2d(o), nn.ReLU()]

        super().__init__(
            *block(channels, 32, 5),
            *block(32, 64, 3),
            *block(64, 128, 3),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(2048, 256),
            nn.BatchNorm1d(256),
            nn.ReLU(),
            nn.Linear(256, n_classes),
        )

    def seen(self, x: Tensor) -> Tensor:
        """The last features [B, 256] before the classes."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x

    def layers(self, x: Tensor) -> list[Tensor]:
        """Features [B, D] behind every non-linearity."""
        found = []
        for layer in list(self)[:-1]:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x.flatten(1))
        return found


class Residual(nn.Module):
    """A residual network of torchvision; as Small. It sees three channels, grey in each, in a size of its own."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: QueryNetwork, *, n_classes: int, published: bool = False) -> None:
        super().__init__()
        self.net: Any = getattr(import_torchvision().models, network)(num_classes=n_classes)  # torchvision is untyped
        if not published:
            self.net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            self.net.maxpool = nn.Identity()
        mean, std = IMAGENET if published else ((0.5,), (0.5,))
        self.side = PUBLISHED_SIDE if published else SIDE
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.net(self._fitted(x))
        return logits

    def seen(self, x: Tensor) -> Tensor:
        """The last features [B, D] before the classes."""
        return self._stages(x)[-1].mean((2, 3))

    def layers(self, x: Tensor) -> list[Tensor]:
        """Features [B, D] behind each of its four stages, their means over GRID x GRID cells."""
        return [functional.adaptive_avg_pool2d(f, GRID).flatten(1) for f in self._stages(x)]

    def _stages(self, x: Tensor) -> list[Tensor]:
        net, found = self.net, []
        x = net.maxpool(net.relu(net.bn1(net.conv1(self._fitted(x)))))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            found.append(x)
        return found

    def _fitted(self, x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        if x.shape[2:] != (self.side, self.side):
            x = functional.interpolate(x, size=(self.side, self.side), mode="bilinear", antialias=True)
        return (x - self.mean) / self.std


def query_network(
    network: QueryNetwork = "cnn", *, channels: int, n_classes: int, published: bool = False
) -> Small | Residual:
    """The network of that name; its weights are drawn, by torch's own state. `published`: see Residual."""
    if network == "cnn":
        return Small(channels=channels, n_classes=n_classes)
    return Residual(network, n_classes=n_classes, published=published)


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of a network as torchvision publishes it."""
    return FIRST in state and state[FIRST].shape[-1:] == (7,)
