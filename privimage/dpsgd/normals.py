"""The random numbers of a keyed stream as tensors: what `privimage.privacy.entropy` makes, where the weights are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from privimage.device import onto
from privimage.privacy.entropy import BLOCK, MASK, Stream

CPU = torch.device("cpu")
MANY = 2**8  # blocks at a time on a GPU, where what bounds them is memory; on a CPU one, which fits its cache


class Tensors:
    """Random numbers in the order in which they are asked for (the `Numbers` of private training).

    Uniform ones are on the CPU; normals, of which there are many, are made and left on `device`.
    """

    def __init__(self, stream: Stream, device: torch.device = CPU) -> None:
        self._stream, self._device = stream, device

    def uniforms(self, *shape: int) -> Tensor:
        """float64, the multiples of 2^-53 in [0, 1), all alike."""
        return torch.from_numpy(self._stream.uniforms(*shape))

    def normals(self, *shape: int) -> Tensor:
        """float64 standard normals."""
        count = math.prod(shape)
        words = onto(self._device, torch.from_numpy(self._stream.words(count + count % 2)))
        return normals_(words)[:count].view(shape)


def normals_(words: Tensor) -> Tensor:
    """float64 standard normals in the memory of `words`, random int64 of an even number, on the device they are on."""
    normals = words.view(torch.float64)
    whole = len(words) // BLOCK * BLOCK
    rows = 1 if words.device.type == "cpu" else MANY
    for start, stop, size in ((0, whole, BLOCK), (whole, len(words), len(words) - whole)):
        if start == stop:
            continue
        into = normals[start:stop].view(-1, 2, size // 2)
        for bits, pair in zip(words[start:stop].view_as(into).split(rows), into.split(rows), strict=True):
            u, v = bits.bitwise_and(MASK).double().unbind(1)
            radius = u.add_(1).mul_(2.0**-63).log_().mul_(-2).sqrt_()
            angle = v.mul_(2 * math.pi * 2.0**-63)
            torch.mul(radius, angle.cos(), out=pair[:, 0])
            torch.mul(radius, angle.sin_(), out=pair[:, 1])
    return normals
