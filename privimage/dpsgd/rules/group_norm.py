"""GroupNorm: y = scale * (x - mean) / std + shift, mean and std of a group of channels of one row.

The native kernels are called once for all B rows as one row of B*C channels in B*G groups, with the scale and shift
repeated: the same arithmetic, and the gradients of the repeated scale are those of every row, in the pass that the
gradient of x takes anyway.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from privimage.dpsgd.rules.rule import BatchPlan, Summary, Use, kept, trained, wide


class GroupNormRule:
    """The rule of nn.GroupNorm."""

    def refusal(self, layer: nn.GroupNorm) -> str:
        """Empty: every GroupNorm layer is handled."""
        return ""

    def forward(self, layer: nn.GroupNorm, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output [B, C, ...], x, and mean and 1/std [1, B*G]; never in less than float32."""
        x = x.to(wide(x.dtype))
        B, C = x.shape[:2]
        y, mean, rstd = torch.native_group_norm(
            _as_one_row(x),
            layer.weight.repeat(B),
            layer.bias.repeat(B),
            1,
            B * C,
            x[0, 0].numel(),
            B * layer.num_groups,
            layer.eps,
        )
        return y.view(x.shape), (x, mean, rstd)

    def backward(
        self, layer: nn.GroupNorm, saved: tuple[Tensor, ...], gy: Tensor, *, needs_x: bool
    ) -> tuple[Tensor | None, Use]:
        """The gradient of x, and those of scale and shift of every row [B, C]."""
        x, mean, rstd = saved
        B, C = x.shape[:2]
        gx, gscale, gshift = torch.ops.aten.native_group_norm_backward(
            _as_one_row(gy),
            _as_one_row(x),
            mean,
            rstd,
            layer.weight.repeat(B),
            1,
            B * C,
            x[0, 0].numel(),
            B * layer.num_groups,
            [needs_x, True, True],
        )
        return gx.view(x.shape) if needs_x else None, (gscale.view(B, C), gshift.view(B, C))

    def summary(self, layer: nn.GroupNorm, uses: list[Use], plan: BatchPlan) -> Summary:
        """Gradients of scale and shift, summed over draws and calls, are kept: n*C numbers each."""
        pairs = zip(("weight", "bias"), zip(*uses, strict=True), strict=True)
        summed = [
            (trained(layer, name), torch.stack([plan.over_draws(rows) for rows in calls]).sum(0))
            for name, calls in pairs
        ]
        return kept([(p, G) for p, G in summed if p is not None])


def _as_one_row(x: Tensor) -> Tensor:
    return x.contiguous().view(1, x.shape[0] * x.shape[1], -1)
