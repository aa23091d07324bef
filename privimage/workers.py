"""Workers: how distribution enters the core. The same code runs alone and on many processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """This process among `size` that run the same stage, `rank` in 0 .. size-1, each on its `device`."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def alone(device: str | torch.device = "cpu") -> Workers:
        """The only worker."""
        return Workers(rank=0, size=1, device=torch.device(device))

    @staticmethod
    def of_process_group(device: str | torch.device = "cpu") -> Workers:
        """This process in the torch.distributed group that was set up around it."""
        return Workers(rank=dist.get_rank(), size=dist.get_world_size(), device=torch.device(device))

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
        """The first worker's value, on every worker."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[no-any-return]
