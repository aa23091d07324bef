"""GroupNorm in several calls, as a GPU needs where rows have too many groups for one, is GroupNorm in one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from privimage.dpsgd.rules import group_norm
from privimage.dpsgd.rules.group_norm import GroupNormRule


@pytest.mark.parametrize("needs_x", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 7])
def test_parts_are_the_whole(rows: int, needs_x: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    layer, rule = nn.GroupNorm(4, 8), GroupNormRule()
    x, gy = (torch.randn((7, 8, 5, 3), generator=rng) for _ in range(2))
    _, saved = rule.forward(layer, x)
    (gx, (scale, shift)) = rule.backward(layer, saved, gy, needs_x=needs_x)
    monkeypatch.setattr(group_norm, "_rows_at_once", lambda x, G: rows)
    (part_gx, (part_scale, part_shift)) = rule.backward(layer, saved, gy, needs_x=needs_x)
    assert torch.equal(part_scale, scale) and torch.equal(part_shift, shift)
    assert (gx is None and part_gx is None) if not needs_x else torch.equal(part_gx, gx)  # type: ignore[arg-type]


def test_no_call_on_a_gpu_has_more_groups_than_a_grid_has_blocks() -> None:
    x = torch.empty((3816, 64, 2, 2), device="meta")
    for G in (1, 16, 32, 64):
        assert 0 < group_norm._rows_at_once(x, G) * G <= 65_535
