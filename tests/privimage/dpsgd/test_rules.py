"""A family of small networks over all rules: `layers` and `opacus` give the loop's clipped sum, and norms no smaller.

Then a fault is planted in every rule, one at a time, and the same check must see it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd import layers, loop, opacus_hooks
from privimage.dpsgd.draws import Draws, draw
from privimage.dpsgd.rules import calibration, conv2d, conv2d_kernels, embedding, group_norm, linear, rule
from privimage.dpsgd.rules.conv2d_kernels import KERNELS, Geometry
from privimage.dpsgd.rules.rule import Plan
from privimage.dpsgd.tape import Tape
from privimage.edm import EDM
from privimage.unet import Size

EDM_ = EDM(sigma_data=1.0, P_mean=-0.6, P_std=1.1)
NULL = 3
Patch = pytest.MonkeyPatch


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One member of the family."""

    channels: int = 4
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    bias: bool = True
    groups: int = 2
    layout: str = "contiguous"  # or "channels_last", "transposed"
    twice: bool = False
    frozen: tuple[str, ...] = ()


class Net(nn.Module):
    """[B,2,6,6] -> [B,2,6,6] through a strided convolution, GroupNorm, a 1x1 convolution, Linear layers, Embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        c, self.shape = shape.channels, shape
        self.conv = nn.Conv2d(2, c, shape.kernel, shape.stride, shape.padding, bias=shape.bias)
        self.norm = nn.GroupNorm(shape.groups, c)
        self.again = nn.Conv2d(c, c, 3, padding=1)
        self.point = nn.Conv2d(c, c, 1, bias=shape.bias)
        self.label = nn.Embedding(NULL + 1, c)
        self.level, self.wide = nn.Linear(1, 16), nn.Linear(16, c)  # few rows an example: Gram matrices
        self.mix = nn.Linear(c, c, bias=shape.bias)  # on [rows, positions, features]
        self.out = nn.Conv2d(c, 2, 1)
        for name in shape.frozen:
            self.get_parameter(name).requires_grad_(False)

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        h = functional.silu(self.norm(self.conv(self._laid_out(z))))
        h = h + (self.label(label) + self.wide(torch.tanh(self.level(c_noise[:, None]))))[:, :, None, None]
        for _ in range(2 if self.shape.twice else 1):
            h = h + functional.silu(self.again(h))
        h = self.norm(h) if self.shape.twice else h
        h = self.point(self._laid_out(h))
        h = h + self.mix(h.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(h.shape)
        return functional.interpolate(self.out(h), size=z.shape[2:])

    def _laid_out(self, h: Tensor) -> Tensor:
        if self.shape.layout == "channels_last":
            return h.contiguous(memory_format=torch.channels_last)
        return h.transpose(2, 3).contiguous().transpose(2, 3) if self.shape.layout == "transposed" else h


def net(shape: Shape, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(shape)


def draws_of(n: int, K: int, seed: int = 0, shape: tuple[int, ...] = (2, 6, 6)) -> Draws:
    rng = torch.Generator().manual_seed(seed)
    z, y = torch.randn((n, *shape), generator=rng), torch.arange(n) % NULL
    return draw(z, y, K=K, edm=EDM_, null=NULL, label_dropout=0.5, generator=rng)


def run(add: Callable[..., Tensor], F: nn.Module, draws: Draws, C: float) -> tuple[Tensor, dict[str, Tensor]]:
    F.zero_grad(set_to_none=True)
    norms = add(F, draws, edm=EDM_, C=C)
    return norms.double(), {name: p.grad.double() for name, p in F.named_parameters() if p.grad is not None}


def truth(F: nn.Module, draws: Draws, share: float) -> tuple[float, Tensor, dict[str, Tensor]]:
    """The clip that is `share` of the median norm; norms and clipped sum by the loop, in double precision."""
    F = F.double()
    exact = replace(draws, z=draws.z.double(), noise=draws.noise.double(), sigma=draws.sigma.double())
    C = share * float(run(loop.add_clipped_sum, F, exact, 1.0)[0].median())
    norms, grads = run(loop.add_clipped_sum, F, exact, C)
    F.float()
    return C, norms, grads


def check(F: nn.Module, draws: Draws, add: Callable[..., Tensor] = layers.add_clipped_sum, share: float = 1.0) -> None:
    C, norms, expected = truth(F, draws, share)
    got_norms, got = run(add, F, draws, C)
    assert (got_norms >= norms * (1 - 1e-4)).all(), "norms are never under-estimated"
    assert (got_norms <= norms * (1 + 1e-4)).all()
    assert got.keys() == expected.keys()
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, tensor in expected.items():
        assert float((got[name] - tensor).abs().max()) <= 1e-5 * largest, name


shapes = st.builds(
    Shape,
    channels=st.sampled_from([4, 6]),
    kernel=st.sampled_from([1, 2, 3]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1]),
    bias=st.booleans(),
    groups=st.sampled_from([1, 2]),
    layout=st.sampled_from(["contiguous", "channels_last", "transposed"]),
    twice=st.booleans(),
    frozen=st.sampled_from([(), ("norm.bias", "out.bias"), ("norm.weight", "mix.weight"), ("label.weight",)]),
)


@given(shapes, st.sampled_from([1, 3]), st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0.3, 1.0, 1e6]))
@settings(max_examples=60, deadline=None)
def test_the_clipped_sum_is_that_of_the_loop(shape: Shape, K: int, n: int, seed: int, share: float) -> None:
    check(net(shape, seed), draws_of(n, K, seed), share=share)


@given(shapes, st.sampled_from([1, 3]), st.sampled_from(["looped", "columns", "shifted", "gram"]))
@settings(max_examples=25, deadline=None)
def test_whatever_kernel_is_chosen(shape: Shape, K: int, kernel: str) -> None:
    def choose(x: Tensor, gy: Tensor, geometry: Geometry, plan: Plan) -> str:
        return "columns" if kernel == "shifted" and geometry.stride != (1, 1) else kernel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "choose", choose)
        check(net(shape), draws_of(4, K))


@pytest.mark.parametrize("twice", [False, True])
def test_without_memory_for_gradients_they_are_made_again(twice: bool, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Plan, "keeps", lambda self, bytes_, *, instead_of: False)
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
        F = Size(width=4, multipliers=(1, 2), attention=(4,)).make(channels=1, image_size=8, n_classes=NULL)
        with torch.no_grad():
            for p in F.parameters():
                p.add_(0.1 * torch.randn_like(p))
    assert layers.supports(F)
    check(F, draws_of(4, K, shape=(1, 8, 8)))


def left_in_memory() -> list[object]:
    gc.collect()
    return [o for o in gc.get_objects() if type(o) in (Tape, rule.Summary)]


@pytest.mark.parametrize("kept", [True, False])
def test_a_step_leaves_nothing_in_memory(kept: bool, monkeypatch: Patch) -> None:
    """A cycle through autograd's graph is out of the garbage collector's sight: it would stay for ever."""
    monkeypatch.setattr(Plan, "keeps", lambda self, bytes_, *, instead_of: kept)
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
    plan = Plan(n=4, K=1, recorded=100 * 2**20)
    kept = [plan.keeps(30 * 2**20, instead_of=40 * 2**20) for _ in range(5)]  # the lesser is kept in any case
    assert kept == [True] * 5
    plan = Plan(n=4, K=1, recorded=100 * 2**20)
    assert [plan.keeps(30 * 2**20, instead_of=2**20) for _ in range(5)] == [True, True, True, False, False]
    assert plan.kept == 92 * 2**20
    assert Plan(n=4, K=1).keeps(60 * 2**20, instead_of=0), "small networks keep all"


def test_batches_of_all_sizes_share_a_few_choices() -> None:
    F = net(Shape(channels=5, groups=1))
    run(layers.add_clipped_sum, F, draws_of(9, 1), 1.0)
    before = len(calibration.CHOICES)
    for n in (11, 8, 17, 25):
        run(layers.add_clipped_sum, F, draws_of(n, 1), 1.0)
    assert len(calibration.CHOICES) == before
    assert all(choice.kernel in {*KERNELS, "gram"} for _, choice in calibration.explain())


def test_what_is_timed_is_random_and_a_kernel_that_disagrees_is_an_error(monkeypatch: Patch) -> None:
    monkeypatch.setattr(calibration, "CHOICES", {})
    monkeypatch.setitem(KERNELS, "columns", lambda *args: 1.01 * conv2d_kernels.columns(*args))
    with pytest.raises(AssertionError, match="kernel columns"):
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


# ---- faults: the check must see each


def the_bias_of_a_convolution_is_forgotten(patch: Patch) -> None:
    real = conv2d.trained
    patch.setattr(conv2d, "trained", lambda layer, name: None if name == "bias" else real(layer, name))


def the_norm_of_a_convolution_bias_is_forgotten(patch: Patch) -> None:
    real = conv2d.kept
    patch.setattr(conv2d, "kept", lambda parts: without_norm(real(parts)) if parts[0][0].dim() == 1 else real(parts))


def without_norm(summary: rule.Summary) -> rule.Summary:
    return replace(summary, squared=torch.zeros_like(summary.squared))


def draws_of_a_convolution_are_orthogonal(patch: Patch) -> None:
    real = conv2d.kept

    def kept(parts: list[tuple[nn.Parameter, Tensor]]) -> rule.Summary:
        summary = real(parts)
        return replace(summary, squared=summary.squared / 3) if parts[0][0].dim() == 4 else summary

    patch.setattr(conv2d, "kept", kept)


def only_the_first_draw_of_a_convolution(patch: Patch) -> None:
    def grouped(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
        return real(x[:n], len(x) // n * gy[:n], geometry, n)

    real = KERNELS["grouped"]
    patch.setitem(KERNELS, "grouped", grouped)
    patch.setattr(calibration, "choose", lambda *args: "grouped")


def one_padding_pixel_is_dropped(patch: Patch) -> None:
    real = KERNELS["grouped"]

    def grouped(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
        gy = gy.clone()
        gy[..., 0, 0] = 0  # where the window reaches over the corner
        return real(x, gy, geometry, n)

    patch.setitem(KERNELS, "grouped", grouped)
    patch.setattr(calibration, "choose", lambda *args: "grouped")


def one_call_of_two_is_forgotten(patch: Patch) -> None:
    real = conv2d.Conv2dRule.summary
    patch.setattr(
        conv2d.Conv2dRule, "summary", lambda self, layer, uses, plan: real(self, layer, uses[:1] * len(uses), plan)
    )


def the_norm_of_the_scale_is_missing(patch: Patch) -> None:
    real = group_norm.kept
    patch.setattr(group_norm, "kept", lambda parts: replace(real(parts), squared=real(parts[1:]).squared))


def the_scale_is_not_normalised(patch: Patch) -> None:
    real = group_norm.GroupNormRule.backward

    def backward(self: Any, layer: Any, x: Tensor, saved: Any, gy: Tensor, *, needs_x: bool) -> Any:
        gx, (_, gshift) = real(self, layer, x, saved, gy, needs_x=needs_x)
        return gx, ((gy * x).flatten(2).sum(2), gshift)

    patch.setattr(group_norm.GroupNormRule, "backward", backward)


def rows_of_an_embedding_are_overwritten(patch: Patch) -> None:
    class Overwriting:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def zeros_like(self, weight: Tensor) -> Any:
            zeros = torch.zeros_like(weight)

            class Rows:
                def index_add_(self, dim: int, index: Tensor, source: Tensor) -> Tensor:
                    return zeros.index_copy_(dim, index, source)

            return Rows()

    patch.setattr(embedding, "torch", Overwriting())


def the_norm_of_an_embedding_is_per_draw(patch: Patch) -> None:
    real = embedding.EmbeddingRule.summary

    def summary(self: Any, layer: nn.Embedding, uses: list[rule.Use], plan: Plan) -> rule.Summary:
        one = real(self, layer, uses, plan)
        per_draw = torch.stack([g.double().square().sum(1) for _, g in uses]).sum(0)
        return replace(one, squared=plan.over_draws(per_draw))

    patch.setattr(embedding.EmbeddingRule, "summary", summary)


def draws_of_a_linear_layer_are_orthogonal(patch: Patch) -> None:
    patch.setattr(linear, "gram_total", lambda x, g: (x.square().sum(2) * g.square().sum(2)).sum(1).double())


def the_bias_of_a_linear_layer_is_forgotten(patch: Patch) -> None:
    real = linear.trained
    patch.setattr(linear, "trained", lambda layer, name: None if name == "bias" else real(layer, name))


def norms_of_linear_layers_are_too_small(patch: Patch) -> None:
    real = linear.gram_total
    patch.setattr(linear, "gram_total", lambda x, g: 0.9 * real(x, g))


FAULTS = [
    the_bias_of_a_convolution_is_forgotten,
    the_norm_of_a_convolution_bias_is_forgotten,
    draws_of_a_convolution_are_orthogonal,
    only_the_first_draw_of_a_convolution,
    one_padding_pixel_is_dropped,
    one_call_of_two_is_forgotten,
    the_norm_of_the_scale_is_missing,
    the_scale_is_not_normalised,
    rows_of_an_embedding_are_overwritten,
    the_norm_of_an_embedding_is_per_draw,
    draws_of_a_linear_layer_are_orthogonal,
    the_bias_of_a_linear_layer_is_forgotten,
    norms_of_linear_layers_are_too_small,
]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
def test_the_check_sees_a_fault_in_a_rule(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    def make() -> tuple[nn.Module, Draws]:
        return net(Shape(twice=True)), draws_of(5, 3)

    check(*make())
    fault(monkeypatch)
    monkeypatch.setattr(layers, "verify", lambda *args, **rest: None)  # the check alone must see it
    with pytest.raises(AssertionError):
        check(*make())


def test_a_fault_in_a_sum_is_refused_before_it_meets_images(monkeypatch: Patch) -> None:
    the_bias_of_a_convolution_is_forgotten(monkeypatch)
    with pytest.raises(ValueError, match=r"does not see every use of 'conv\.bias'"):
        run(layers.add_clipped_sum, net(Shape()), draws_of(2, 1), 1.0)


def test_double_precision_stays_double() -> None:
    F = net(Shape()).double()
    draws = draws_of(3, 2)
    double = replace(draws, z=draws.z.double(), noise=draws.noise.double(), sigma=draws.sigma.double())
    norms = layers.add_clipped_sum(F, double, edm=EDM_, C=1.0)
    assert norms.dtype == torch.float64 and all(p.grad.dtype == torch.float64 for p in F.parameters())
