"""Features of images in the unit ball, with their gradient: what a generator is trained by.

    Fourier       phi(x) = [cos(W x), sin(W x)] / sqrt(frequencies)       W ~ N(0, 1 / length^2), x pixels in [0, 1]
    Perceptual    phi(x) = [u(f(x) - m), u((f(x) - m)^2 - v)] / sqrt(2)   f a layer of a public network, u(a) = a / |a|

m and v are public means. The layers of a network lie side by side, each with its share of the unit ball.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from privimage.device import tf32
from privimage.generators import Shape
from privimage.metrics.efficientnet import load_efficientnet
from privimage.semantics import QueryFunction

TINY = 1e-12
SIDE = 32  # pixels at which EfficientNet-Lite0 sees an image, as in metrics.features
PART = 100  # images that are looked at together
TAPPED = (0, 2, 4, 10)  # its blocks after which the image is half, a quarter, ... of its side

Layers = Callable[[Tensor], list[Tensor]]  # images [n, C, H, W] in [0, 1] -> features [n, D] of every layer


class Phi(Protocol):
    """phi float32 [n, d] of images [n, C, H, W] in [0, 1], |phi| <= 1 but for rounding.

    `arrays` are all that it is made of beside a network: public, and kept with an answer.
    """

    d: int
    arrays: Mapping[str, NDArray[Any]]

    def __call__(self, x: Tensor) -> Tensor:
        """phi."""
        ...


class Fourier:
    """See above. (Rahimi and Recht 2007.)"""

    def __init__(self, W: NDArray[np.float32], *, device: torch.device) -> None:
        self.arrays: Mapping[str, NDArray[Any]] = {"frequencies": W}
        self.d, self.device = 2 * len(W), device
        self._W = torch.from_numpy(W).to(device)

    @staticmethod
    def drawn(*, features: int, length: float, shape: Shape) -> NDArray[np.float32]:
        """Frequencies [features / 2, pixels]: the same for everybody."""
        pixels = int(np.prod(shape))
        W = np.random.default_rng(0).standard_normal((features // 2, pixels)) / (length * pixels**0.5)
        drawn: NDArray[np.float32] = W.astype(np.float32)
        return drawn

    def __call__(self, x: Tensor) -> Tensor:
        """See Phi."""
        angle = x.flatten(1) @ self._W.T
        phi: Tensor = torch.cat([angle.cos(), angle.sin()], dim=1) / len(self._W) ** 0.5
        return phi


class Perceptual:
    """See above. (Harder et al. 2022.)"""

    def __init__(self, layers: Layers, arrays: Mapping[str, NDArray[Any]], *, device: torch.device) -> None:
        self.arrays, self._layers = arrays, layers
        self._means = [
            [torch.from_numpy(arrays[f"m{moment}-{i}"]).to(device) for moment in range(int(arrays["moments"]))]
            for i in range(int(arrays["layers"]))
        ]
        self.d = sum(len(m) for means in self._means for m in means)

    @staticmethod
    def fitted(layers: Layers, blocks: Sequence[Tensor], *, moments: int) -> dict[str, NDArray[Any]]:
        """What public images [n, C, H, W], in blocks, say: `arrays`."""
        n = sum(map(len, blocks))
        first = [sum(parts) / n for parts in zip(*([f.sum(0) for f in layers(x)] for x in blocks), strict=True)]
        found = {f"m0-{i}": m.numpy() for i, m in enumerate(map(_cpu, first))}
        if moments == 2:
            squares = ([(f - m).square().sum(0) for f, m in zip(layers(x), first, strict=True)] for x in blocks)
            second = [sum(parts) / n for parts in zip(*squares, strict=True)]
            found |= {f"m1-{i}": m.numpy() for i, m in enumerate(map(_cpu, second))}
        return {**found, "layers": np.array(len(first)), "moments": np.array(moments)}

    def __call__(self, x: Tensor) -> Tensor:
        """See Phi."""
        parts = []
        for f, means in zip(self._layers(x), self._means, strict=True):
            moment = f - means[0]
            parts.append(_unit(moment))
            parts.extend(_unit(moment.square() - m) for m in means[1:])
        phi: Tensor = torch.cat(parts, dim=1) / len(parts) ** 0.5
        return phi


def _unit(a: Tensor) -> Tensor:
    return a / (a.square().sum(1, keepdim=True) + TINY).sqrt()


def _cpu(m: Any) -> Tensor:
    return torch.as_tensor(m).float().cpu()


def layers_of(function: QueryFunction | None, *, device: torch.device) -> Layers:
    """The layers of the query function, or of EfficientNet-Lite0 where there is none."""
    seen = function.net.requires_grad_(False).layers if function is not None else _of_efficientnet(device)

    def exact(x: Tensor) -> list[Tensor]:
        with tf32(False):  # alike on every device
            return seen(x)

    return exact


def _of_efficientnet(device: torch.device) -> Layers:
    body: Any = load_efficientnet().eval().requires_grad_(False).to(device)

    def seen(x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        hooks = [
            body._blocks[i].register_forward_hook(lambda block, given, out: found.append(out.flatten(1)))
            for i in TAPPED
        ]
        x = functional.interpolate(x.expand(-1, 3, -1, -1), size=(SIDE, SIDE), mode="bilinear", antialias=True)
        last = body.extract_features((x * 255 - 127) / 128).mean((2, 3))
        for hook in hooks:
            hook.remove()
        return [*found, last]

    return seen


def floats(x: NDArray[np.uint8], *, device: torch.device) -> Tensor:
    """Images in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(x)).to(device).float() / 255


@torch.no_grad()
def phi_of(x: NDArray[np.uint8], features: Phi, *, device: torch.device) -> NDArray[np.float32]:
    """phi [n, d] of images uint8 [n, C, H, W]."""
    found: NDArray[np.float32] = features(floats(x, device=device)).cpu().numpy()
    return found
