"""Augment: variations follow from their generator alone, and stay images."""

from __future__ import annotations

import pytest
import torch

from privimage.data.augment import VARY
from privimage.data.pool import PoolConfig, Vary


@pytest.mark.parametrize("kind", VARY)
@pytest.mark.parametrize("channels", [1, 3])
def test_it_depends_on_its_generator_only(kind: Vary, channels: int) -> None:
    x = torch.rand(6, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    one, same, other = (VARY[kind][-1](x, rng=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same) and not torch.equal(one, other) and one.shape == x.shape
    assert 0 <= float(one.min()) and float(one.max()) <= 1


def test_the_kind_follows_from_the_channels_where_none_is_named() -> None:
    assert PoolConfig().kind(1) == "strokes" and PoolConfig().kind(3) == "photo"
    assert PoolConfig(vary="photo").kind(1) == "photo"
