"""Linear on [rows, features] or [rows, positions..., features]: y = x W^T + b.

The gradient of W for one example is sum_r g_r x_r^T over its R rows (draws, positions and calls together).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd.clip import add_to_grad
from privimage.dpsgd.rules.rule import (
    BatchPlan,
    Factors,
    Summary,
    Use,
    gram_total,
    joined,
    kept,
    lowered,
    squared_norms,
    trained,
    wide,
    without_tf32,
)

CHUNK = 32 * 2**20  # bytes of per-example gradients made at once where only their norms are wanted


class LinearRule:
    """The rule of nn.Linear."""

    def refusal(self, layer: nn.Linear) -> str:
        """Empty: every Linear layer is handled."""
        return ""

    def forward(self, layer: nn.Linear, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output [K*n, ..., out]; only x is kept."""
        x = lowered(x)
        return functional.linear(x, layer.weight, layer.bias), (x,)

    def backward(
        self, layer: nn.Linear, saved: tuple[Tensor, ...], gy: Tensor, *, needs_x: bool
    ) -> tuple[Tensor | None, Use]:
        """The gradient of x, and (x, gy)."""
        (x,) = saved
        return gy @ layer.weight.to(x.dtype) if needs_x else None, (x, gy)

    def summary(self, layer: nn.Linear, uses: list[Use], plan: BatchPlan) -> Summary:
        """Norms of the weight by Gram matrices where an example has few rows, else by its gradient."""
        x = torch.cat([plan.by_example(x).reshape(plan.n, -1, layer.in_features) for x, _ in uses], dim=1)
        g = torch.cat([plan.by_example(g).reshape(plan.n, -1, layer.out_features) for _, g in uses], dim=1)
        x, g = (t.to(wide(t.dtype)) for t in (x, g))
        weight, bias = trained(layer, "weight"), trained(layer, "bias")
        parts = []
        if weight is not None:
            parts.append(_weight(weight, x, g, plan))
        if bias is not None:
            parts.append(kept([(bias, g.sum(1))]))
        return joined(parts)


def _weight(weight: nn.Parameter, x: Tensor, g: Tensor, plan: BatchPlan) -> Summary:
    a, b, bytes_ = x.shape[2], g.shape[2], x.element_size()
    if x.shape[1] * (a + b) <= a * b or x.shape[1] == 1:
        with without_tf32():
            return Summary(squared=gram_total(x, g), add=lambda factors: _add(weight, x, g, factors))
    if plan.keeps(plan.n * a * b * bytes_, instead_of=(x.numel() + g.numel()) * bytes_):
        return kept([(weight, g.transpose(1, 2) @ x)])
    size = max(1, CHUNK // (a * b * bytes_))
    with without_tf32():
        norms = [squared_norms(gs.transpose(1, 2) @ xs) for xs, gs in zip(x.split(size), g.split(size), strict=True)]
    return Summary(squared=torch.cat(norms), add=lambda factors: _add(weight, x, g, factors))


def _add(weight: nn.Parameter, x: Tensor, g: Tensor, factors: Factors) -> None:
    x, g = factors.select(x), factors.select(g)
    weighted = g * factors.value.to(g.dtype)[:, None, None]
    with without_tf32():
        add_to_grad(weight, weighted.flatten(0, 1).T @ x.flatten(0, 1))
