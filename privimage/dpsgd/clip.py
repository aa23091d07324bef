"""The clip of one example's gradient."""

from __future__ import annotations

from torch import Tensor


def clip_factor(norm: Tensor, C: float) -> Tensor:
    """min(1, C / norm) for every norm; 1 where the norm is 0. A norm that is not finite gets 0, never more."""
    factor = (C / norm.clamp(min=1e-30)).clamp(max=1.0)
    return factor.where(norm.isfinite(), 0.0)
