"""What a GPU is told beside its work: how exact to be, and what to read by itself. On a CPU nothing of it counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def onto(device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the device. The CPU does not wait: a GPU reads it by itself, and what works on it comes after."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


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
