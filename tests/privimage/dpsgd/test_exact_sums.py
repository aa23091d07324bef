"""What is added of a gradient is what its norm is of: no product of the clipped sum is rounded on a GPU that may."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from privimage.device import tf32
from privimage.dpsgd import clip
from privimage.dpsgd.clip import add_clipped
from privimage.dpsgd.rules import rule
from privimage.dpsgd.rules.rule import Factors

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default)


class Rounded(TorchDispatchMode):
    """Of every product whether a GPU might have rounded what it multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.found.append(torch.backends.cuda.matmul.allow_tf32)
        return func(*args, **(kwargs or {}))


def weighted(G: Tensor) -> None:
    for factors in (Factors.of(torch.ones(len(G))), Factors.masking(torch.ones(len(G)))):
        factors.sum(G)


def clipped(G: Tensor) -> None:
    add_clipped([nn.Parameter(torch.zeros(G.shape[1:]))], [G], C=1.0)


@pytest.mark.parametrize("add", [weighted, clipped])
def test_sums_are_exact_where_rounding_is_allowed(add: Any) -> None:
    with tf32(True), Rounded() as seen:
        add(torch.randn(3, 2, 4))
    assert seen.found and not any(seen.found)


@pytest.mark.parametrize(("module", "guard", "add"), [(rule, "without_tf32", weighted), (clip, "tf32", clipped)])
def test_a_sum_that_is_rounded_is_seen(module: Any, guard: str, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, guard, lambda *exact: nullcontext())
    with tf32(True), Rounded() as seen:
        add(torch.randn(3, 2, 4))
    assert any(seen.found)
