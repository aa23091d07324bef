"""Recorded: work of a GPU that is the same at every call, recorded once as a CUDA graph and played with one launch.

A step of training is thousands of small kernels, and a GPU waits for each to be launched. Played back there is nothing
to wait for. What is recorded reads and writes the same memory at every call, and none of it may depend on values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor

WARM = 3  # ordinary calls before: kernels are chosen, and workspaces made, outside of what is recorded
AGREEMENT = 1e-2  # of the norm, between what is played and what is run: a number of bf16 is rounded by half of that
REFUSED = "engine: this GPU does not play back what was recorded; set resources.cuda_graphs: false"
Recordable = Callable[..., object]  # that gives nothing back but by what it writes to


class Recorded:
    """`run` of inputs of fixed shapes, which changes the tensors `into` and nothing else.

    A GPU plays it back. On any other device it is run again at every call, in the same memory.
    """

    def __init__(self, run: Recordable, *inputs: Tensor, into: Sequence[Tensor]) -> None:
        """Record it as it runs for these inputs; `into` is left as it was.

        Raises ValueError if what is played for other inputs is not what runs for them.
        """
        self._inputs = [tensor.clone() for tensor in inputs]
        self._into = list(into)  # kept: a GPU writes there, whoever else has let go of it
        before = [tensor.clone() for tensor in into]
        others = [t / 2 if t.is_floating_point() else t for t in inputs]
        ran = _made(run, others, into)  # first, as what is recorded keeps the memory of a whole run to itself
        device = self._inputs[0].device
        self._play = _graph(run, self._inputs, device) if device.type == "cuda" else partial(run, *self._inputs)
        played = _made(self, others, into)
        if not float((ran - played).norm()) <= AGREEMENT * float(ran.norm()):
            raise ValueError(REFUSED)
        torch._foreach_copy_(self._into, before)

    def __call__(self, *inputs: Tensor) -> None:
        """`run` of these inputs."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._play()


def _graph(run: Recordable, inputs: list[Tensor], device: torch.device) -> Callable[[], object]:
    """What plays `run` of these inputs. Other threads may use the GPU meanwhile.

    Raises ValueError if it cannot be recorded.
    """
    here, aside = torch.cuda.current_stream(device), _aside(device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            run(*inputs)
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    recording = torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local")
    try:
        with torch.cuda.device(device), torch.cuda.stream(here), recording:
            run(*inputs)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(REFUSED) from error
    return graph.replay


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: libraries keep memory of their own for every stream that they have seen."""
    return torch.cuda.Stream(device)


def _made(run: Recordable, inputs: list[Tensor], into: Sequence[Tensor]) -> Tensor:
    """What `run` leaves in `into`, where there was nothing."""
    torch._foreach_zero_(list(into))
    run(*inputs)
    return torch.cat([tensor.flatten() for tensor in into])
