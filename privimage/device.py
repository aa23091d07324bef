"""What a GPU is told beside its work: how exact to be, and what to read by itself. On a CPU nothing of it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def onto(device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the device. The CPU does not wait: a GPU reads it by itself, and what works on it comes after."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def held(device: torch.device, array: NDArray[Any]) -> Callable[[NDArray[np.int64]], torch.Tensor]:
    """What gives the rows of these places on the device. A GPU holds the whole array, and waits for nothing after."""
    if device.type == "cpu":
        return lambda index: torch.from_numpy(array[index])
    whole = torch.from_numpy(array).to(device)  # it waits once: pinned, all of it would be kept from other use
    return lambda index: whole.index_select(0, onto(device, torch.from_numpy(index)))


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """While it is open, a GPU may round the inputs of float32 products to 10 bits, which makes them several times as
    fast, or may not; on a CPU nothing changes."""
    backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        yield
    finally:
        for backend, was in zip(backends, before, strict=True):
            backend.allow_tf32 = was
