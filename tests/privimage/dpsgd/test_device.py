"""The engine makes every tensor where the network is, and nothing of what it does depends on values.

It is run on the meta device, which has no values and refuses to meet the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_networks import LOSS, Shape, draws_of, net
from torch import Tensor

from privimage.dpsgd import clip, layers
from privimage.dpsgd.rules import fastest
from privimage.dpsgd.rules.rule import BatchPlan, Factors

Patch = pytest.MonkeyPatch


def on_meta(patch: Patch, kernel: str, *, keep: bool) -> set[str]:
    """Devices of all gradients."""
    F, draws = net(Shape(twice=kernel == "looped")).to("meta"), draws_of(4, 3)
    moved = draws.map(lambda t: t.to("meta"))
    patch.setattr(fastest, "choose", lambda x, gy, geometry, plan: "grouped" if geometry.pointwise else kernel)
    patch.setattr(BatchPlan, "keeps", lambda self, bytes_, *, instead_of: keep)
    counted = torch.ones(4, dtype=torch.bool, device="meta")
    norms = layers.clipped(F, moved, loss=LOSS, C=1.0, counted=counted)
    assert norms.shape == (4,)
    return {norms.device.type} | {p.grad.device.type for p in F.parameters() if p.grad is not None}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kernel", ["grouped", "looped", "columns", "shifted", "gram"])
def test_nothing_is_left_on_the_cpu(kernel: str, keep: bool, monkeypatch: Patch) -> None:
    assert on_meta(monkeypatch, kernel, keep=keep) == {"meta"}


def test_a_tensor_on_the_cpu_is_seen(monkeypatch: Patch) -> None:
    real: Callable[[Tensor, float], Tensor] = clip.clip_factor
    monkeypatch.setattr(layers, "clip_factor", lambda norm, C: real(torch.ones(len(norm)), C))
    with pytest.raises(RuntimeError, match="meta"):
        on_meta(monkeypatch, "grouped", keep=True)


def test_what_depends_on_values_is_seen(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Factors, "masking", Factors.of)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        on_meta(monkeypatch, "grouped", keep=True)
