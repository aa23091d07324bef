"""GroupNorm: y = scale * (x - mean) / std + shift, mean and std of a group of channels of one row.

The native kernels are called once for all B rows as one row of B*C channels in B*G groups, with the scale and shift
repeated: the same arithmetic, and the gradients of the repeated scale are those of every row, in the pass that the
gradient of x takes anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from privimage.dpsgd.rules.rule import BatchPlan, Summary, Use, kept, trained, wide

MOST = 65_535  # groups of one call on a GPU: so many blocks has a grid of its kernels in the dimension that they take


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
        (B, C), G = x.shape[:2], layer.num_groups
        step = _rows_at_once(x, G)
        parts = []
        for rows in (slice(start, min(start + step, B)) for start in range(0, B, step)):
            n, groups = rows.stop - rows.start, slice(rows.start * G, rows.stop * G)
            parts.append(
                torch.ops.aten.native_group_norm_backward(
                    _as_one_row(gy[rows]),
                    _as_one_row(x[rows]),
                    mean[:, groups],
                    rstd[:, groups],
                    layer.weight.repeat(n),
                    1,
                    n * C,
                    x[0, 0].numel(),
                    n * G,
                    [needs_x, True, True],
                )
            )
        gx, gscale, gshift = zip(*parts, strict=True)
        use = _joined(gscale).view(B, C), _joined(gshift).view(B, C)
        return _joined(gx).view(x.shape) if needs_x else None, use

    def summary(self, layer: nn.GroupNorm, uses: list[Use], plan: BatchPlan) -> Summary:
        """Gradients of scale and shift, summed over draws and calls, are kept: n*C numbers each."""
        pairs = zip(("weight", "bias"), zip(*uses, strict=True), strict=True)
        summed = [
            (trained(layer, name), torch.stack([plan.over_draws(rows) for rows in calls]).sum(0))
            for name, calls in pairs
        ]
        return kept([(p, G) for p, G in summed if p is not None])


def _rows_at_once(x: Tensor, G: int) -> int:
    """How many rows of G groups one call takes."""
    return len(x) if x.device.type == "cpu" else max(1, MOST // G)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One after the other; of several, flat."""
    return parts[0] if len(parts) == 1 else torch.cat([part.flatten() for part in parts])


def _as_one_row(x: Tensor) -> Tensor:
    return x.contiguous().view(1, x.shape[0] * x.shape[1], -1)
