"""Recorded: work of a GPU that is the same at every call, recorded once as a CUDA graph and played with one launch.

A step of DP-SGD is thousands of small kernels, and a GPU waits for each to be launched. Played back there is nothing to
wait for. What is recorded reads and writes the same memory at every call, and none of it may depend on values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM = 3  # ordinary calls before: kernels are chosen, and workspaces made, outside of what is recorded


class Recorded:
    """`run` of inputs of fixed shapes on a GPU; every call gives the output anew, in the same memory."""

    def __init__(self, run: Callable[..., Tensor], *inputs: Tensor) -> None:
        """Record `run`; it is called with `inputs` a few times, so what it does with these has to be undone after."""
        self._inputs = [tensor.clone() for tensor in inputs]
        device = self._inputs[0].device
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                run(*self._inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = run(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The output of `run` for these inputs. It is overwritten by the next call."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._output
