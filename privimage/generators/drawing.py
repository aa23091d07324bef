"""Drawing: the network of a diffusion at a precision, and as a GPU plays it back for its sampler."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from privimage.dpsgd.batch import Network
from privimage.generators.config import Precision
from privimage.recorded import Recorded


def at_precision(F: Network, precision: Precision) -> Network:
    """F with activations of that precision, and what it returns as exact as what it got."""

    def lowered(x: Tensor, *inputs: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            out: Tensor = F(x, *inputs)
        return out.to(x.dtype)

    return lowered if precision == "bf16" else F


class Played:
    """A network that a GPU plays back, of batches of at most `size` rows: what is short is filled up."""

    def __init__(self, F: Network, *, size: int) -> None:
        self._F, self._size = F, size
        self._recorded: Recorded | None = None
        self._out: Tensor

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the network makes of inputs [n, ...]. Raises ValueError if it is not what the network makes."""
        n = len(inputs[0])
        whole = tuple(_filled(tensor, self._size) for tensor in inputs)
        if self._recorded is None:
            self._recorded = self._record(*whole)
        self._recorded(*whole)
        return self._out[:n].clone()  # the next call writes over it

    def _record(self, *inputs: Tensor) -> Recorded:
        self._out = torch.empty_like(inputs[0])

        def run(*inputs: Tensor) -> None:
            self._out.copy_(self._F(*inputs))

        return Recorded(run, *inputs, into=[self._out])


class Drawing:
    """Networks as they are played: whoever draws many blocks records none twice."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Played] = {}

    def network(self, F: nn.Module, *, size: int, precision: Precision) -> Played:
        """F at that precision played back, of batches of at most `size` rows."""
        weights = tuple((t.data_ptr(), t.device) for t in (*F.parameters(), *F.buffers()))
        name = (id(F), weights, size, precision)  # what is recorded knows where weights lie
        if name not in self._made:
            self._made[name] = Played(at_precision(F, precision), size=size)
        return self._made[name]


def _filled(tensor: Tensor, size: int) -> Tensor:
    """With copies of the first row behind it, where it is short."""
    short = size - len(tensor)
    return torch.cat([tensor, tensor[:1].expand(short, *tensor.shape[1:])]) if short else tensor
