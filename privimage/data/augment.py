"""Augment: images changed a little at random, in the way of their kind: strokes of a pen, photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from privimage.data.pool import Vary

FAR = 1.7  # how much further every second variation of a glyph goes: a hand writes what no font has


def strokes(x: Tensor, *, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """Images [B, C, H, W] under random affine and elastic maps, some strokes thickened or thinned.

    With a larger `strength` maps take them further from what they are.
    """
    B, side = len(x), x.shape[-2:]

    def spread(*shape: int) -> Tensor:  # uniform in [-1/2, 1/2), times the strength
        return (torch.rand(*shape, generator=rng) - 0.5).to(x.device) * strength

    turn, shear = spread(B) * 0.5, spread(B) * 0.5
    affine = torch.zeros(B, 2, 3, device=x.device)
    affine[:, 0, 0] = turn.cos() * (1 + spread(B) * 0.3)
    affine[:, 0, 1] = shear - turn.sin()
    affine[:, 1, 0] = turn.sin()
    affine[:, 1, 1] = turn.cos() * (1 + spread(B) * 0.3)
    affine[:, :, 2] = spread(B, 2) * 0.15
    elastic = functional.interpolate(spread(B, 2, 5, 5) * 0.25, size=side, mode="bilinear", align_corners=False)
    field = functional.affine_grid(affine, list(x.shape), align_corners=False) + elastic.permute(0, 2, 3, 1)
    x = functional.grid_sample(x, field, align_corners=False)
    thick = functional.max_pool2d(x, 3, 1, 1)
    thin = functional.pad(-functional.max_pool2d(-x, 2, 1, 0), (0, 1, 0, 1))
    pick = (torch.rand(B, generator=rng) - 0.5).to(x.device)[:, None, None, None]
    return torch.where(pick < -0.25, thick, torch.where(pick > 0.35, thin, x))


def photo(x: Tensor, *, rng: torch.Generator) -> Tensor:
    """Images [B, C, H, W] in [0, 1]: half of them mirrored; a little larger, moved, turned, lighter or darker."""
    B = len(x)

    def spread(*shape: int) -> Tensor:  # uniform in [-1/2, 1/2)
        return (torch.rand(*shape, generator=rng) - 0.5).to(x.device)

    turn, zoom = spread(B) * 0.2, 1 + spread(B) * 0.2
    mirror = torch.where(spread(B) < 0, -1.0, 1.0)
    affine = torch.zeros(B, 2, 3, device=x.device)
    affine[:, 0, 0], affine[:, 0, 1] = turn.cos() * zoom * mirror, -turn.sin()
    affine[:, 1, 0], affine[:, 1, 1] = turn.sin() * mirror, turn.cos() * zoom
    affine[:, :, 2] = spread(B, 2) * 0.2
    field = functional.affine_grid(affine, list(x.shape), align_corners=False)
    x = functional.grid_sample(x, field, align_corners=False, padding_mode="reflection")
    gain, shift = 1 + spread(B, 1, 1, 1) * 0.3, spread(B, 1, 1, 1) * 0.15
    return ((x - 0.5) * gain + 0.5 + shift).clamp(0, 1)


def mirrored(x: Tensor, *, rng: torch.Generator) -> Tensor:
    """Images [B, C, H, W], about half of them mirrored."""
    mirror = (torch.rand(len(x), generator=rng) < 0.5).to(x.device)
    return torch.where(mirror[:, None, None, None], x.flip(3), x)


VARY: dict[Vary, tuple[Callable[..., Tensor], ...]] = {  # of the first variation, the second, then again from the first
    "strokes": (strokes, partial(strokes, strength=FAR)),
    "photo": (photo,),
}
