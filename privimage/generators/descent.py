"""Descent: a step of ordinary training of F, by a batch of which every worker takes a share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from privimage.dpsgd.batch import Batch, Loss
from privimage.recorded import Recorded
from privimage.workers import Workers


class Descent:
    """Steps of `adam` down the mean loss of batches of one size. Where `workers.graphs`, a GPU plays back all of a step
    but the optimizer's."""

    def __init__(self, F: nn.Module, adam: torch.optim.Adam, *, loss: Loss, workers: Workers) -> None:
        self._F, self._adam, self._loss, self._workers = F, adam, loss, workers
        self._parameters = [p for p in F.parameters() if p.requires_grad]
        self._played: Recorded | None = None

    def step(self, batch: Batch, *, lr: float) -> None:
        """One step at that learning rate. Raises ValueError at the first, if a GPU does not play back what it ran."""
        n, own = batch.shape[0], tuple(part[self._workers.rank :: self._workers.size] for part in batch.flat())
        for group in self._adam.param_groups:
            group["lr"] = lr
        if self._workers.graphs:
            self._play(own, n)
        else:
            self._adam.zero_grad(set_to_none=True)
            (self._loss(self._F, *own).sum() / n).backward()
        self._workers.all_reduce([p.grad for p in self._parameters if p.grad is not None])
        self._adam.step()

    def _play(self, rows: Sequence[Tensor], n: int) -> None:
        """Leave the gradients of this worker's rows in every p.grad, which is the same memory at every call."""
        if self._played is None:
            gradients = [torch.zeros_like(p) for p in self._parameters]

            def run(*rows: Tensor) -> None:
                value = self._loss(self._F, *rows).sum() / n
                found = torch.autograd.grad(value, self._parameters, allow_unused=True, materialize_grads=True)
                torch._foreach_copy_(gradients, found)

            self._played = Recorded(run, *rows, into=gradients)
            for p, gradient in zip(self._parameters, gradients, strict=True):
                p.grad = gradient
        self._played(*rows)
