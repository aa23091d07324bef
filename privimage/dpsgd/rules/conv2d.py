"""Conv2d: y = W * x + b. The weight gradient of one example is that of its K draws together.

How it is computed is chosen by `fastest` for every shape; the ways are in `conv2d_kernels`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd.clip import add_to_grad
from privimage.dpsgd.rules import fastest
from privimage.dpsgd.rules.conv2d_kernels import KERNELS, Geometry, gram_norms, input_gradient, weight_gradient
from privimage.dpsgd.rules.rule import (
    BatchPlan,
    Factors,
    Summary,
    Use,
    joined,
    kept,
    lowered,
    squared_norms,
    trained,
    wide,
    without_tf32,
)

CHUNK = 32 * 2**20  # bytes of per-example gradients made at once where only their norms are wanted


class Conv2dRule:
    """The rule of nn.Conv2d."""

    def refusal(self, layer: nn.Conv2d) -> str:
        """Only dense convolutions with symmetric zero padding are handled."""
        if layer.groups != 1 or set(layer.dilation) != {1}:
            return f"groups={layer.groups} and dilation={layer.dilation} are not handled"
        if layer.padding_mode != "zeros" or layer.padding == "same":
            return f"padding={layer.padding!r} of mode {layer.padding_mode!r} is not handled"
        return ""

    def forward(self, layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output [K*n, O, H, W]; only x is kept."""
        x = lowered(x)
        return functional.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding), (x,)

    def backward(
        self, layer: nn.Conv2d, saved: tuple[Tensor, ...], gy: Tensor, *, needs_x: bool
    ) -> tuple[Tensor | None, Use]:
        """The gradient of x, and (x, gy)."""
        (x,) = saved
        gx = input_gradient(x, gy, layer.weight.to(x.dtype), Geometry.of(layer)) if needs_x else None
        return gx, (x, gy)

    def summary(self, layer: nn.Conv2d, uses: list[Use], plan: BatchPlan) -> Summary:
        """Of the weight by the kernel that was fastest, kept or recomputed; the bias gradients [n, O] are kept."""
        weight, bias = trained(layer, "weight"), trained(layer, "bias")
        parts = []
        if weight is not None:
            parts.append(_weight(weight, Geometry.of(layer), uses, plan))
        if bias is not None:
            G = torch.stack([gy.sum((2, 3), dtype=wide(gy.dtype)) for _, gy in uses]).sum(0)
            parts.append(kept([(bias, plan.over_draws(G))]))
        return joined(parts)


def _weight(weight: nn.Parameter, geometry: Geometry, uses: list[Use], plan: BatchPlan) -> Summary:
    kernels = [fastest.choose(x, gy, geometry, plan) for x, gy in uses]

    def recompute(factors: Factors) -> None:
        with without_tf32():
            for x, gy in uses:
                _add_weighted(weight, x, gy, geometry, factors, plan)

    def gradients(parts: list[Use], n: int) -> Tensor:
        each = [
            KERNELS[name if name != "gram" else "grouped"](x, gy, geometry, n).to(weight.dtype)
            for name, (x, gy) in zip(kernels, parts, strict=True)
        ]
        return sum(each[1:], each[0])

    size, held = weight.numel() * weight.element_size(), sum(t.numel() * t.element_size() for use in uses for t in use)
    if kernels != ["gram"] and plan.keeps(plan.n * size, instead_of=held):
        return kept([(weight, gradients(uses, plan.n))])
    with without_tf32():
        if kernels == ["gram"]:
            ((x, gy),) = uses
            return Summary(squared=gram_norms(x, gy, geometry, plan.n), add=recompute)
        squared = []
        for start in range(0, plan.n, step := max(1, CHUNK // size)):
            some = slice(start, min(start + step, plan.n))
            parts = [tuple(_wide(plan.rows_of(plan.by_example(rows)[some])) for rows in use) for use in uses]
            squared.append(squared_norms(gradients(parts, some.stop - start)))
        return Summary(squared=torch.cat(squared), add=recompute)


def _wide(rows: Tensor) -> Tensor:
    return rows.to(wide(rows.dtype))


def _add_weighted(
    weight: nn.Parameter, x: Tensor, gy: Tensor, geometry: Geometry, factors: Factors, plan: BatchPlan
) -> None:
    """One ordinary weight gradient, of output gradients that are multiplied by the factors."""
    x, gy = (_wide(t) for t in (x, gy))
    if factors.alive is not None or factors.mask is not None:
        x, gy = (plan.rows_of(factors.select(plan.by_example(rows))) for rows in (x, gy))
    factor = factors.value.to(gy.dtype).repeat(plan.K).view(-1, 1, 1, 1)
    add_to_grad(weight, weight_gradient(x, gy * factor, geometry))
