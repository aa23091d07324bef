"""Every engine computes the clipped sum that `loop` defines, or refuses; norms are never under-estimated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import double
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd import layers, loop, vmap
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.clip import clip_factor
from privimage.dpsgd.engine import ENGINES, choose
from privimage.generators.diffusion import EdmLoss, draw
from privimage.generators.edm import EDM
from privimage.generators.generator import Generator
from privimage.generators.pretrain import Seeded
from privimage.generators.unet import UNetSize

EDM_ = EDM(sigma_data=1.0, P_mean=0.3, P_std=1.1)
LOSS = EdmLoss(edm=EDM_)


def make_draws(n: int, K: int, shape: tuple[int, ...], *, seed: int = 0, dropout: float = 0.5) -> Batch:
    """Batch in double precision, so that engines can be compared exactly."""
    rng = torch.Generator().manual_seed(seed)
    z, y = torch.randn((n, *shape), generator=rng), torch.arange(n) % 3
    d = draw(z, y, K=K, edm=EDM_, null=3, label_dropout=dropout, rng=Seeded(rng))
    return double(d)


def run(engine: str, F: nn.Module, draws: Batch, C: float) -> tuple[Tensor, dict[str, Tensor]]:
    for p in F.parameters():
        p.grad = None
    norms = ENGINES[engine](F, draws, loss=LOSS, C=C)
    return norms, {name: p.grad for name, p in F.named_parameters() if p.grad is not None}


def agree(engine: str, F: nn.Module, draws: Batch, C: float) -> None:
    norms, expected = run("loop", F, draws, C)
    got_norms, got = run(engine, F, draws, C)
    torch.testing.assert_close(got_norms, norms, rtol=1e-5, atol=1e-9)
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            got[name], tensor, rtol=1e-4, atol=1e-7 * float(tensor.abs().max()) + 1e-12, msg=name
        )


def clip_of(F: nn.Module, draws: Batch, bite: str) -> float:
    norms = run("loop", F, draws, 1.0)[0]
    return {"nobody": 1e6, "some": float(norms.mean()), "everybody": float(norms.min()) / 3}[bite]


@pytest.mark.parametrize("bite", ["nobody", "some", "everybody"])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("engine", ["layers", "vmap"])
def test_engines_agree_on_dct_mlp(tiny: Callable[..., Generator], engine: str, K: int, bite: str) -> None:
    F, draws = tiny().F.double(), make_draws(5, K, (256,))
    label = draws.drawn[2]
    assert (label == 3).any() and (label < 3).any()  # some labels were dropped
    agree(engine, F, draws, clip_of(F, draws, bite))


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        F = UNetSize(width=4, multipliers=(1, 2), attention=(4,)).make(channels=1, image_size=8, n_classes=3).double()
        with torch.no_grad():
            for p in F.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return F


@pytest.mark.parametrize(("K", "bite"), [(1, "nobody"), (3, "some")])
def test_vmap_agrees_on_a_unet(unet: nn.Module, K: int, bite: str) -> None:
    draws = make_draws(2, K, (1, 8, 8))
    agree("vmap", unet, draws, clip_of(unet, draws, bite))


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_are_added_to_what_is_there(tiny: Callable[..., Generator], engine: str) -> None:
    F, draws = tiny().F.double(), make_draws(4, 2, (256,))
    whole = run(engine, F, draws, 0.1)[1]
    for p in F.parameters():
        p.grad = torch.zeros_like(p)
    for part in (slice(0, 1), slice(1, 4)):
        mine = draws.map(lambda t, part=part: t[part])
        ENGINES[engine](F, mine, loss=LOSS, C=0.1)
    for name, p in F.named_parameters():
        torch.testing.assert_close(p.grad, whole[name])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_sum_of_n_examples_is_at_most_n_clips_long(tiny: Callable[..., Generator], engine: str) -> None:
    for n in (1, 4):
        grads = run(engine, tiny().F.double(), make_draws(n, 3, (256,)), 0.01)[1]
        assert torch.cat([g.ravel() for g in grads.values()]).norm() <= n * 0.01 * (1 + 1e-9)


@pytest.mark.parametrize("engine", ["layers", "vmap"])
def test_frozen_layers_take_no_part(tiny: Callable[..., Generator], engine: str) -> None:
    F = tiny().F.double()
    full, draws = run("loop", F, make_draws(4, 2, (256,)), 1.0)[0], make_draws(4, 2, (256,))
    F.first.requires_grad_(False)
    F.last.weight.requires_grad_(False)  # and a layer of which only the bias is trained
    F.noise_1.bias.requires_grad_(False)
    agree(engine, F, draws, 0.05)
    norms, grads = run(engine, F, draws, 0.05)
    assert "first.weight" not in grads and "last.weight" not in grads and "last.bias" in grads
    assert (norms < full).all()


class Twice(nn.Module):
    """A network of vectors of 4 that uses one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return self.b(self.a(torch.tanh(self.a(z))) + c_noise[:, None])


class Normed(Twice):
    """With a trainable layer that is not Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return self.norm(super().forward(z, c_noise, label))


class Unused(Twice):
    """With a Linear layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Linear(4, 4)


class Tokens(Twice):
    """A Linear layer on [rows, tokens, features]."""

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return super().forward(self.a(z.view(-1, 1, 4))[:, 0], c_noise, label)


class Folded(Twice):
    """A Linear layer on tokens that are folded into the rows."""

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        tokens = self.a(z[:, None].expand(-1, 3, 4).flatten(0, 1)).view(-1, 3, 4)
        return super().forward(tokens.sum(1), c_noise, label)


class Tied(Twice):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.b.weight = self.a.weight


class Functional(Twice):
    """A weight that is used outside of its layer, too."""

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, c_noise, label) + functional.linear(z, self.b.weight)


class InPlace(Twice):
    """An output that is overwritten in place."""

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return self.b(functional.relu(self.a(z), inplace=True) + c_noise[:, None])


def small(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().double()


@pytest.mark.parametrize("engine", ["layers", "vmap"])
@pytest.mark.parametrize("C", [0.05, 1e6])
def test_a_layer_used_twice(engine: str, C: float) -> None:
    agree(engine, small(Twice), make_draws(5, 2, (4,)), C)


def test_a_layer_without_a_rule_is_refused_and_seen_by_vmap() -> None:
    F, draws = small(Normed), make_draws(3, 2, (4,))
    with pytest.raises(ValueError, match="use 'vmap'"):
        run("layers", F, draws, 1.0)
    assert all(p.grad is None for p in F.parameters())
    agree("vmap", F, draws, 0.05)
    assert choose("auto", F) is vmap.add_clipped_sum and choose("auto", small(Twice)) is layers.add_clipped_sum
    F.norm.requires_grad_(False)
    agree("layers", F, draws, 0.05)


@pytest.mark.parametrize("engine", ["layers", "loop"])
def test_a_parameter_without_a_contribution_is_an_error(engine: str) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        run(engine, small(Unused), make_draws(3, 1, (4,)), 1.0)


@pytest.mark.parametrize("engine", ["layers", "vmap"])
def test_a_layer_on_tokens(engine: str) -> None:
    agree(engine, small(Tokens), make_draws(3, 2, (4,)), 0.05)


def test_a_layer_on_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="rows, not 4; use 'vmap'"):
        run("layers", small(Folded), make_draws(3, 2, (4,)), 1.0)
    agree("vmap", small(Folded), make_draws(3, 2, (4,)), 0.05)


@pytest.mark.parametrize(
    "kind",
    [
        Tied,
        Functional,
        InPlace,
    ],
)
def test_layers_agrees_or_refuses_where_hooks_do_not_see_everything(kind: type[nn.Module]) -> None:
    try:
        agree("layers", small(kind), make_draws(6, 2, (4,)), 0.05)
    except (ValueError, RuntimeError) as refusal:
        assert "engine" in str(refusal)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "engine",
    [
        "layers",
        "vmap",
        "loop",
    ],
)
def test_an_example_whose_gradient_is_not_finite_adds_nothing(
    tiny: Callable[..., Generator], engine: str, bad: float
) -> None:
    F, draws = tiny().F.double(), make_draws(3, 2, (256,))
    noise, sigma, label = draws.drawn
    spoiled = noise.clone()
    spoiled[1, 0, 5] = bad
    got = run(engine, F, replace(draws, drawn=(spoiled, sigma, label)), 0.05)[1]
    keep = [0, 2]
    others = draws.map(lambda t: t[keep])
    for name, expected in run("loop", F, others, 0.05)[1].items():
        torch.testing.assert_close(got[name], expected, rtol=1e-4, atol=1e-9, msg=name)


@pytest.mark.parametrize("engine", ["layers", "loop"])
def test_no_examples_add_nothing(tiny: Callable[..., Generator], engine: str) -> None:
    norms, grads = run(engine, tiny().F.double(), make_draws(0, 2, (256,)), 1.0)
    assert norms.shape == (0,) and not grads


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 4]), st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=15, deadline=None)
def test_norms_are_never_under_estimated(seed: int, K: int, scale: float) -> None:
    F, exact = small(Twice, seed), make_draws(4, K, (4,), seed=seed)
    with torch.no_grad():
        for p in F.parameters():
            p.mul_(scale)
    single = exact.map(lambda t: t.float() if t.is_floating_point() else t)
    true = loop.add_clipped_sum(F.float(), single, loss=LOSS, C=1.0)  # at 1e3, tanh amplifies rounding in every engine
    for engine in ("layers", "vmap", "opacus"):
        norms = run(engine, F, single, 1.0)[0]
        assert (norms >= true * (1 - 1e-4)).all(), engine
        assert (norms <= true * (1 + 1e-3)).all(), engine


@given(st.floats(0, 1e30), st.floats(1e-6, 1e12))
@settings(max_examples=50, deadline=None)
def test_clip_never_leaves_more_than_C(norm: float, C: float) -> None:
    factor = clip_factor(torch.tensor(norm, dtype=torch.float64), C).item()
    assert 0 <= factor <= 1 and factor * norm <= C * (1 + 1e-9)
    assert factor > 1 - 1e-9 or norm > C


def test_clip_of_a_norm_that_is_not_finite_is_zero() -> None:
    norms = torch.tensor([float("nan"), float("inf"), 0.0, 2.0])
    assert clip_factor(norms, 1.0).tolist() == [0, 0, 1, 0.5]
