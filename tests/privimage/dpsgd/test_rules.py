"""Over a family of small networks `layers` and `opacus` give the loop's clipped sum, and norms no smaller."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import first
from small_networks import LOSS, NULL, Net, Shape, check, double, draws_of, net, run, shapes
from torch import Tensor, nn

from privimage.dpsgd import layers, opacus_hooks
from privimage.dpsgd.rules import conv2d, conv2d_kernels, fastest, linear, rule
from privimage.dpsgd.rules.conv2d_kernels import KERNELS, Geometry
from privimage.dpsgd.rules.rule import BatchPlan
from privimage.dpsgd.tape import Tape
from privimage.generators.unet import UNetSize

Patch = pytest.MonkeyPatch


@given(shapes, st.sampled_from([1, 3]), st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0.3, 1.0, 1e6]))
@settings(max_examples=60, deadline=None)
def test_the_clipped_sum_is_that_of_the_loop(shape: Shape, K: int, n: int, seed: int, share: float) -> None:
    check(net(shape, seed), draws_of(n, K, seed), share=share)


@given(shapes, st.sampled_from([1, 3]), st.sampled_from(["looped", "columns", "shifted", "gram"]))
@settings(max_examples=25, deadline=None)
@pytest.mark.thorough
def test_whatever_kernel_is_chosen(shape: Shape, K: int, kernel: str) -> None:
    def choose(x: Tensor, gy: Tensor, geometry: Geometry, plan: BatchPlan) -> str:
        return "columns" if kernel == "shifted" and geometry.stride != (1, 1) else kernel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastest, "choose", choose)
        check(net(shape), draws_of(4, K))


@pytest.mark.parametrize("twice", [False, True])
def test_without_memory_for_gradients_they_are_made_again(twice: bool, monkeypatch: Patch) -> None:
    monkeypatch.setattr(BatchPlan, "keeps", lambda self, bytes_, *, instead_of: False)
    monkeypatch.setattr(conv2d, "CHUNK", 1)
    monkeypatch.setattr(linear, "CHUNK", 1)
    check(net(Shape(twice=twice)), draws_of(5, 3))


@pytest.mark.parametrize("functorch", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
def test_opacus_agrees_because_inputs_are_made_contiguous(layout: str, functorch: bool) -> None:
    def add(*args: Any, **rest: Any) -> Tensor:
        return opacus_hooks.add_clipped_sum(*args, functorch=functorch, **rest)

    F = net(Shape(layout=layout, stride=2))
    check(F, draws_of(4, 3), add)
    assert not [name for p in F.parameters() for name in vars(p) if "grad_sample" in name]
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in F.modules())


def test_opacus_is_wrong_where_inputs_are_not_made_contiguous(monkeypatch: Patch) -> None:
    """If this fails, Opacus reads such inputs rightly now and need not be helped."""
    monkeypatch.setattr(opacus_hooks, "_contiguous", lambda layer, inputs: inputs)
    monkeypatch.setattr(opacus_hooks, "verify", lambda *args, **rest: None)
    with pytest.raises(AssertionError):
        check(net(Shape(layout="channels_last")), draws_of(4, 1), opacus_hooks.add_clipped_sum)


@pytest.mark.parametrize("K", [1, 3])
def test_the_papers_unet(K: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        F = UNetSize(width=4, multipliers=(1, 2), attention=(4,)).make(channels=1, image_size=8, n_classes=NULL)
        with torch.no_grad():
            for p in F.parameters():
                p.add_(0.1 * torch.randn_like(p))
    assert layers.supports(F)
    check(F, draws_of(4, K, shape=(1, 8, 8)))


def left_in_memory() -> list[object]:
    gc.collect()
    return [o for o in gc.get_objects() if type(o) in (Tape, rule.Summary)]


@pytest.mark.parametrize("kept", first([False, True]))
@pytest.mark.thorough
def test_a_step_leaves_nothing_in_memory(kept: bool, monkeypatch: Patch) -> None:
    """A cycle through autograd's graph is out of the garbage collector's sight: it would stay for ever."""
    monkeypatch.setattr(BatchPlan, "keeps", lambda self, bytes_, *, instead_of: kept)
    for F in (net(Shape()), net(Shape(twice=True))):
        for K in (1, 3):
            run(layers.add_clipped_sum, F, draws_of(4, K), 1.0)
        assert not left_in_memory()


def test_a_refused_network_leaves_nothing_in_memory() -> None:
    class Unused(Net):
        def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
            self.mix(z.flatten(1)[:, : self.shape.channels])
            return self.out(self.point(self.again(self.conv(z))))

    with pytest.raises(ValueError, match="takes no part in the network's output"):
        run(layers.add_clipped_sum, Unused(Shape()), draws_of(2, 1), 1.0)
    assert not left_in_memory()


def test_what_is_kept_never_exceeds_the_budget() -> None:
    plan = BatchPlan(n=4, K=1, recorded=100 * 2**20)
    kept = [plan.keeps(30 * 2**20, instead_of=40 * 2**20) for _ in range(5)]  # the lesser is kept in any case
    assert kept == [True] * 5
    plan = BatchPlan(n=4, K=1, recorded=100 * 2**20)
    assert [plan.keeps(30 * 2**20, instead_of=2**20) for _ in range(5)] == [True, True, True, False, False]
    assert plan.kept == 92 * 2**20
    assert BatchPlan(n=4, K=1).keeps(60 * 2**20, instead_of=0), "small networks keep all"


def test_batches_of_all_sizes_share_a_few_choices() -> None:
    F = net(Shape(channels=5, groups=1))
    run(layers.add_clipped_sum, F, draws_of(9, 1), 1.0)
    before = len(fastest.CHOICES)
    for n in (11, 8, 17, 25):
        run(layers.add_clipped_sum, F, draws_of(n, 1), 1.0)
    assert len(fastest.CHOICES) == before
    assert all(choice.kernel in {*KERNELS, "gram"} for _, choice in fastest.explain())


def test_what_is_timed_is_random_and_a_kernel_that_disagrees_is_an_error(monkeypatch: Patch) -> None:
    monkeypatch.setattr(fastest, "CHOICES", {})
    monkeypatch.setitem(KERNELS, "columns", lambda *args: 1.01 * conv2d_kernels.columns(*args))
    with pytest.raises(ValueError, match="kernel 'columns'"):
        run(layers.add_clipped_sum, net(Shape()), draws_of(2, 1), 1.0)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv2d(2, 2, 3, padding=1, groups=2), "groups=2"),
        (nn.Conv2d(2, 2, 3, padding=2, dilation=2), "dilation"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "circular"),
        (nn.Conv2d(2, 2, 3, padding="same"), "same"),
        (nn.Embedding(4, 2, padding_idx=0), "padding_idx"),
        (nn.LayerNorm(6), "no rule"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "no rule"),
    ],
)
def test_what_no_rule_handles_is_refused(layer: nn.Module, why: str) -> None:
    F = net(Shape())
    F.extra = layer
    assert not layers.supports(F)
    with pytest.raises(ValueError, match=rf"{why}.*use 'vmap'"):
        run(layers.add_clipped_sum, F, draws_of(2, 1), 1.0)
    layer.requires_grad_(False)
    check(F, draws_of(2, 1))


def test_double_precision_stays_double() -> None:
    F = net(Shape()).double()
    norms = layers.add_clipped_sum(F, double(draws_of(3, 2)), loss=LOSS, C=1.0)
    assert norms.dtype == torch.float64 and all(p.grad.dtype == torch.float64 for p in F.parameters())


def test_a_strided_pointwise_convolution_meets_no_channels_last(monkeypatch: Patch) -> None:
    """There oneDNN writes outside its memory (its issue 6035): what follows is a crash, or wrong numbers."""
    met: list[Tensor] = []
    native = torch.ops.aten.convolution_backward

    def watched(gy: Tensor, x: Tensor, *rest: Any) -> Any:
        met.append(x)
        return native(gy, x, *rest)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", watched)
    x = torch.randn(4, 2, 6, 6).contiguous(memory_format=torch.channels_last)
    geometry = Geometry(weight=(4, 2, 1, 1), stride=(2, 2), padding=(0, 0))
    conv2d_kernels.weight_gradient(x, torch.randn(4, 4, 3, 3), geometry)
    assert [tensor.is_contiguous() for tensor in met] == [True]
