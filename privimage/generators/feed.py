"""Feed: public images on the device where they are trained on, without that it waits for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.device import onto
from privimage.generators import Shape

Places = NDArray[np.int64]
Reader = Callable[[Places], NDArray[np.uint8]]
HELD = 1 / 8  # of the free memory of a GPU: what images may take of it
BLOCK = 4096  # images that are moved at once


class Feed(Protocol):
    """Images uint8 [b, C, H, W] of the places `index`, on the device. `following` tells which are asked for next."""

    def __call__(self, index: Places, *, following: Callable[[], Places]) -> Tensor:
        """See above."""
        ...


@contextmanager
def feed(read: Reader, *, n: int, shape: Shape, seen: int, device: torch.device) -> Iterator[Feed]:
    """The feed of n images, of which `seen` are asked for in all, while it is open.

    A GPU holds all images, where it has room and each is seen; else they are read while it computes. A CPU reads them
    when they are asked for, as it could compute meanwhile.
    """
    if device.type != "cuda":
        yield AsAsked(read, device=device)
    elif n <= seen and n * math.prod(shape) <= HELD * torch.cuda.mem_get_info(device)[0]:
        yield Resident(read, n=n, shape=shape, device=device)
    else:
        with ThreadPoolExecutor(1) as thread:
            yield Ahead(read, thread=thread, device=device)


class AsAsked:
    """Reads images when they are asked for."""

    def __init__(self, read: Reader, *, device: torch.device) -> None:
        self._read, self._device = read, device

    def __call__(self, index: Places, *, following: Callable[[], Places]) -> Tensor:
        """See Feed."""
        return onto(self._device, torch.from_numpy(self._read(index)))


class Resident:
    """Holds all images on the device."""

    def __init__(self, read: Reader, *, n: int, shape: Shape, device: torch.device) -> None:
        self._x, self._device = torch.empty((n, *shape), dtype=torch.uint8, device=device), device
        for block in np.array_split(np.arange(n), -(-n // BLOCK)):
            self._x[block[0] : block[-1] + 1] = onto(device, torch.from_numpy(read(block)))

    def __call__(self, index: Places, *, following: Callable[[], Places]) -> Tensor:
        """See Feed."""
        return self._x.index_select(0, onto(self._device, torch.from_numpy(index)))


class Ahead:
    """Reads the images that follow in a thread, while a batch is computed on."""

    def __init__(self, read: Reader, *, thread: ThreadPoolExecutor, device: torch.device) -> None:
        self._read, self._thread, self._device = read, thread, device
        self._next: tuple[Places, Future[Tensor]] | None = None

    def __call__(self, index: Places, *, following: Callable[[], Places]) -> Tensor:
        """See Feed."""
        found = self._found(index)
        after = following()
        self._next = after, self._thread.submit(self._ready, after)
        return onto(self._device, found)

    def _found(self, index: Places) -> Tensor:
        if self._next is not None and np.array_equal(self._next[0], index):
            return self._next[1].result()
        return self._ready(index)

    def _ready(self, index: Places) -> Tensor:
        """Where a GPU can fetch them; in the order of its own work, so not from this thread."""
        images = torch.from_numpy(self._read(index))
        return images.pin_memory() if self._device.type == "cuda" else images
