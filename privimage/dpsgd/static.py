"""The static step: the clipped sum of physical batches of one size, in which no operation depends on a value.

So a GPU does the same work at every call, never waits for the CPU in between, and can have it recorded. It is the sum
of `layers`; examples that fill a batch up count 0, also where their gradients are not finite.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from privimage.dpsgd import layers
from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.physical import filled
from privimage.recorded import Recorded


class StaticSum:
    """Adds the clipped sum of batches of at most `size` examples to every trainable `p.grad`, which has to be there.

    With `recorded` a GPU plays it back: then every `p.grad` has to be the same memory at every call.
    """

    def __init__(self, F: nn.Module, *, loss: Loss, C: float, size: int, recorded: bool = False) -> None:
        self._F, self._loss, self._C, self._size = F, loss, C, size
        self._recorded = recorded
        self._played: Recorded | None = None

    def __call__(self, batch: Batch) -> None:
        """Add the clipped sum of a batch. Raises ValueError as `layers` does, at the first call."""
        layers.see(self._F, batch, loss=self._loss)
        batch, counted = filled(batch, self._size)
        if self._recorded and self._played is None:
            self._played = self._record(batch)
        if self._played is None:
            self._run(batch, counted)
        else:
            self._played(counted, *batch.each, *batch.drawn)

    def _run(self, batch: Batch, counted: Tensor) -> None:
        layers.clipped(self._F, batch, loss=self._loss, C=self._C, counted=counted)

    def _record(self, batch: Batch) -> Recorded:
        """The sum as a GPU plays it, recorded with stand-ins.

        Raises ValueError if it does not play what it was shown.
        """

        def run(counted: Tensor, *fields: Tensor) -> None:
            self._run(batch.of(fields), counted)

        made = self._loss.stand_in(batch, torch.Generator().manual_seed(0))
        fields, all_of_them = (*made.each, *made.drawn), torch.ones(self._size, dtype=torch.bool)
        grads = [p.grad for p in self._F.parameters() if p.grad is not None]
        return Recorded(run, all_of_them.to(fields[0].device), *fields, into=grads)
