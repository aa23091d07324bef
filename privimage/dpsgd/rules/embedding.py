"""Embedding: y = W[x]. The gradient of one example is the sum of its output gradients, row of W by row of W."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd.clip import add_to_grad
from privimage.dpsgd.rules.rule import BatchPlan, Factors, Summary, Use, trained, wide


class EmbeddingRule:
    """The rule of nn.Embedding."""

    def refusal(self, layer: nn.Embedding) -> str:
        """Settings that change weights or gradients in ways of their own are refused."""
        special = layer.padding_idx is not None or layer.max_norm is not None or layer.scale_grad_by_freq
        return "padding_idx, max_norm, scale_grad_by_freq and sparse are not handled" if special or layer.sparse else ""

    def forward(self, layer: nn.Embedding, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The rows of the weight; only the indices are kept."""
        return functional.embedding(x, layer.weight), (x,)

    def backward(
        self, layer: nn.Embedding, saved: tuple[Tensor, ...], gy: Tensor, *, needs_x: bool
    ) -> tuple[Tensor | None, Use]:
        """No gradient of the indices; (indices, output gradients)."""
        return None, (*saved, gy.to(wide(gy.dtype)))

    def summary(self, layer: nn.Embedding, uses: list[Use], plan: BatchPlan) -> Summary:
        """The norm is that of the sums over equal indices: of all pairs of rows r, s of an example with one index,

        |sum|^2 = sum_{r,s} [index_r = index_s] g_r . g_s,   in float64, so that what cancels leaves no error.
        """
        D = layer.weight.shape[1]
        index = torch.cat([plan.by_example(x).reshape(plan.n, -1) for x, _ in uses], dim=1)
        g = torch.cat([plan.by_example(g).reshape(plan.n, -1, D) for _, g in uses], dim=1)
        wide_g, same = g.double(), index[:, :, None] == index[:, None, :]
        squared = (wide_g @ wide_g.transpose(1, 2) * same).sum((1, 2)).clamp(min=0)

        weight = trained(layer, "weight")
        if weight is None:
            raise ValueError("engine: an embedding without a trained weight has no gradient to sum")

        def add(factors: Factors) -> None:
            weighted = factors.select(g) * factors.value.to(g.dtype)[:, None, None]
            row = index if factors.alive is None else index[factors.alive]
            total = torch.zeros_like(weight).index_add_(0, row.flatten(), weighted.flatten(0, 1).to(weight.dtype))
            add_to_grad(weight, total)

        return Summary(squared=squared, add=add)
