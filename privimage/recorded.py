"""Recorded: work of a GPU that is the same at every call, recorded once as a CUDA graph and played with one launch.

A step of training is thousands of small kernels, and a GPU waits for each to be launched. Played back there is nothing
to wait for. What is recorded reads and writes the same memory at every call, and none of it may depend on values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

WARM = 3  # ordinary calls before: kernels are chosen, and workspaces made, outside of what is recorded
AGREEMENT = 1e-3  # of the largest value, between what is played and what is run
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
        before = [tensor.clone() for tensor in into]
        device = self._inputs[0].device
        self._play = _graph(run, self._inputs, device) if device.type == "cuda" else partial(run, *self._inputs)
        others = [t / 2 if t.is_floating_point() else t for t in inputs]
        ran, played = (_made(made, others, into) for made in (run, self))
        if not float((ran - played).abs().max()) <= AGREEMENT * float(ran.abs().max()):
            raise ValueError("engine: this GPU does not play back what was recorded; set resources.cuda_graphs: false")
        torch._foreach_copy_(list(into), before)

    def __call__(self, *inputs: Tensor) -> None:
        """`run` of these inputs."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._play()


def _graph(run: Recordable, inputs: list[Tensor], device: torch.device) -> Callable[[], object]:
    """What plays `run` of these inputs."""
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            run(*inputs)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(*inputs)
    return graph.replay


def _made(run: Recordable, inputs: list[Tensor], into: Sequence[Tensor]) -> Tensor:
    """What `run` leaves in `into`, where there was nothing."""
    torch._foreach_zero_(list(into))
    run(*inputs)
    return torch.cat([tensor.flatten() for tensor in into])
