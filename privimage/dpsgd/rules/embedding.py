"""Embedding: y = W[x]. The gradient of one example is the sum of its output gradients, row of W by row of W."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd.rules.rule import BatchPlan, Factors, Summary, Use, add_to_grad, trained, wide


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
        """Output gradients are summed over equal (example, index) pairs; these sums are kept."""
        V, D = layer.weight.shape
        index = torch.cat([plan.by_example(x).reshape(plan.n, -1) for x, _ in uses], dim=1)
        g = torch.cat([plan.by_example(g).reshape(plan.n, -1, D) for _, g in uses], dim=1).flatten(0, 1)
        pairs = (torch.arange(plan.n, device=index.device)[:, None] * V + index).flatten()
        found, place = pairs.unique(return_inverse=True)
        sums = g.new_zeros(len(found), D).index_add_(0, place, g)
        example, row = found.div(V, rounding_mode="floor"), found % V
        squared = torch.zeros(plan.n, dtype=torch.float64, device=g.device)
        squared.index_add_(0, example, sums.double().square().sum(1))

        weight = trained(layer, "weight")
        if weight is None:
            raise ValueError("engine: an embedding without a trained weight has no gradient to sum")

        def add(factors: Factors) -> None:
            factor = factors.spread(plan.n).to(g.dtype)[example]
            weighted = torch.where(factor[:, None] > 0, sums * factor[:, None], 0.0)
            add_to_grad(weight, torch.zeros_like(weight).index_add_(0, row, weighted))

        return Summary(squared=squared, add=add)
