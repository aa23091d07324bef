"""The noise of DP-SGD: standard normals of a keyed stream, and Opacus's optimizer that adds them to the clipped sum."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import torch
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from torch import Tensor

from privimage.dpsgd.normals import normals_
from privimage.errors import Violation
from privimage.privacy.entropy import Entropy


class StepNoise:
    """Standard normals for all weights, once for every step, made in a thread while its gradients are computed.

    The key of a step is made of the entropy and the number of the step: a stage that goes on from a checkpoint adds
    the noise that it would have added, and every worker adds the same. Use it as a context: the thread ends with it.
    """

    def __init__(self, entropy: Entropy, *, count: int, device: torch.device) -> None:
        self._entropy, self._count, self._device = entropy, count, device
        cuda = device.type == "cuda"
        self._words = torch.empty(count + count % 2, dtype=torch.int64, pin_memory=True) if cuda else None
        self._stream = torch.cuda.Stream(device) if cuda else None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="noise")
        self._future: Future[Tensor] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def begin(self, step: int) -> None:
        """Start making the noise of that step."""
        self._future = self._thread.submit(self._make, step)

    def take(self) -> Tensor:
        """float64 [count], for the step that was begun. Raises Violation if it was taken: noise is for one sum."""
        future, self._future = self._future, None
        if future is None:
            raise Violation("the noise of a step is added to one sum only")
        noise = future.result()
        if self._stream is not None:
            noise.record_stream(torch.cuda.current_stream(self._device))
        return noise

    def _make(self, step: int) -> Tensor:
        """Bits on the CPU; on a GPU they are copied and turned into normals on a stream of their own."""
        stream = self._entropy.stream(f"noise/{step}")
        if self._words is None or self._stream is None:
            words = torch.from_numpy(stream.words(self._count + self._count % 2)).to(self._device)
            return normals_(words)[: self._count]
        stream.fill(self._words.numpy())
        with torch.cuda.stream(self._stream):
            noise = normals_(self._words.to(self._device, non_blocking=True))[: self._count]
        self._stream.synchronize()  # before the pinned words are written again, or the noise is added
        return noise


class StreamNoiseOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus's optimizer, with its noise from `take` in place of a generator of torch.

    Sum and noise are added in float64 and rounded once to the precision of the weights: that is post-processing, and
    what it leaves of the last bits of a double, which may tell of a sum (Mironov 2012), is nothing.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, take: Callable[[], Tensor] | None, **values: Any) -> None:
        super().__init__(optimizer, loss_reduction="mean", **values)
        if (take is None) != (self.noise_multiplier == 0):
            raise Violation("noise is drawn exactly where the event declares it")
        self._take = take

    def add_noise(self) -> None:
        """In every `p.grad` the sum plus noise of standard deviation `noise_multiplier * max_grad_norm`.

        All in one operation: a GPU would wait for those of each parameter.
        """
        std = self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            _check_processed_flag(p.summed_grad)
        total = torch.cat([p.summed_grad.flatten() for p in self.params])
        if self._take is not None:
            noise = self._take()
            total = torch.add(total, noise, alpha=std, out=noise).to(total.dtype)
        for p, part in zip(self.params, total.split([p.numel() for p in self.params]), strict=True):
            p.grad = part.view_as(p).to(p.dtype)
            _mark_as_processed(p.summed_grad)

    def accumulate(self) -> None:
        """What is in every `p.grad` is the sum: all that Opacus would add up has been, and nothing is copied."""
        for p in self.params:
            if p.summed_grad is not None:
                raise Violation("a step has one sum; it was taken already")
            p.summed_grad = p.grad.detach()


def step_noise(
    entropy: Entropy, *, count: int, device: torch.device, private: bool
) -> contextlib.AbstractContextManager[StepNoise | None]:
    """The noise of a stage; None where the event has none."""
    return StepNoise(entropy, count=count, device=device) if private else contextlib.nullcontext()
