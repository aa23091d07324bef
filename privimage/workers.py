"""Workers: how distribution enters the core. The same code runs alone and on many processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from privimage.errors import PrivImageError, TrialFailed, Violation

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """In place of a value: the first worker could not make it."""

    error: PrivImageError


@dataclass(frozen=True, kw_only=True)
class Workers:
    """This process among `size` that run the same stage, `rank` in 0 .. size-1, each on its `device`.

    With `graphs` a GPU plays back the steps of training that it can record (CUDA graphs).
    """

    rank: int
    size: int
    device: torch.device
    graphs: bool = False

    @staticmethod
    def alone(device: str | torch.device = "cpu", *, graphs: bool = False) -> Workers:
        """The only worker."""
        return Workers(rank=0, size=1, device=torch.device(device), graphs=graphs)

    @staticmethod
    def of_process_group(device: str | torch.device = "cpu", *, graphs: bool = False) -> Workers:
        """This process in the torch.distributed group that was set up around it."""
        rank, size = dist.get_rank(), dist.get_world_size()
        return Workers(rank=rank, size=size, device=torch.device(device), graphs=graphs)

    @property
    def first(self) -> bool:
        """Whether this is the one that reads, writes and charges."""
        return self.rank == 0

    def all_reduce(self, tensors: list[torch.Tensor]) -> None:
        """Replace every tensor by its sum over workers, bit-equal on all of them (one flat transfer)."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def broadcast(self, value: T) -> T:
        """The first worker's value, on every worker. The others raise the error that the first one told by `fail`."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        if not self.first and isinstance(box[0], _Failed):
            raise box[0].error
        return box[0]  # type: ignore[no-any-return]

    def fail(self, error: Exception) -> None:
        """On the first worker, in place of `broadcast`: the others raise this error instead of waiting for a value.

        Errors of privimage travel as they are; any other as the text of a TrialFailed (it might not survive the way).
        """
        if not self.first:
            raise Violation("only the first worker tells the others that it failed")
        if not isinstance(error, PrivImageError):
            error = TrialFailed(f"the first worker met {type(error).__name__}: {error}")
        self.broadcast(_Failed(error=error))

    def of_first(self, make: Callable[[], T]) -> T:
        """What `make()` returned on the first worker, on every worker; what it raised there is raised everywhere."""
        if not self.first:
            return self.broadcast(None)  # type: ignore[return-value]  # the first worker's, not this None
        try:
            value = make()
        except Exception as error:
            self.fail(error)
            raise
        return self.broadcast(value)
