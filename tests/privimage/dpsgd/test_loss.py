"""Engines know a loss and nothing else: one that is no diffusion, a batch in its parts, and examples that are apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from small_networks import EDM_, LOSS, Shape, draws_of, net, run
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd import opacus_hooks, verify
from privimage.dpsgd.batch import Batch, Loss, Network
from privimage.dpsgd.engine import ENGINES
from privimage.generators import edm as diffusion

LABELS = 3


class Discriminator(nn.Module):
    """How real images [B,1,8,8] of labels [B] look [B] (Miyato and Koyama 2018, projection)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.label, self.out = nn.Embedding(LABELS, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = functional.leaky_relu(self.norm(self.conv(x)), 0.2)
        h = functional.leaky_relu(self.down(h), 0.2).mean((2, 3))
        return self.out(h)[:, 0] + (self.label(label) * h).sum(1)


class Hinge(Loss):
    """Of a discriminator: a real image with its label, and a made one (Lim and Ye 2017)."""

    def __call__(self, F: Network, *rows: Tensor) -> Tensor:
        x, label, made = rows
        return functional.relu(1 - F(x, label)) + functional.relu(1 + F(made, label))


def discriminator() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator()


def pairs(n: int, K: int) -> Batch:
    """n real images with labels, each against K made ones."""
    rng = torch.Generator().manual_seed(1)
    real, made = torch.rand(n, 1, 8, 8, generator=rng), torch.rand(n, K, 1, 8, 8, generator=rng)
    return Batch(each=(real * 2 - 1, torch.arange(n) % LABELS), drawn=(made * 2 - 1,), K=K)


def clipped(engine: str, batch: Batch, C: float) -> tuple[Tensor, Tensor]:
    """Norms, and the clipped sum as one vector."""
    F = discriminator()
    norms = ENGINES[engine](F, batch, loss=Hinge(), C=C)
    return norms, torch.cat([p.grad.flatten() for p in F.parameters()])


@pytest.mark.parametrize("share", [0.5, 1e6])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("engine", ["layers", "vmap", "opacus"])
def test_the_hinge_loss_of_a_discriminator(engine: str, K: int, share: float) -> None:
    """It calls the network twice for a row, with integers among its inputs, and draws other things than noise."""
    batch = pairs(6, K)
    C = share * float(clipped("loop", batch, 1.0)[0].median())
    norms, expected = clipped("loop", batch, C)
    got_norms, got = clipped(engine, batch, C)
    assert float((got - expected).abs().max()) <= 1e-6 * float(expected.abs().max())
    assert float((got_norms / norms - 1).abs().max()) <= 1e-6
    assert len({round(float(norm), 6) for norm in norms}) == 6 and float(expected.norm()) <= 6 * C * (1 + 1e-6)


def test_the_loss_of_a_diffusion_is_that_of_its_rows() -> None:
    F, draws = net(Shape()), draws_of(4, 3)
    z, noise, sigma, label = draws.flat()
    assert torch.equal(LOSS(F, *draws.flat()), diffusion.loss(F, z, noise, sigma, label, edm=EDM_))
    assert z.shape == noise.shape == (12, 2, 6, 6) and sigma.shape == label.shape == (12,)


class Mixing(nn.Module):
    """A network of vectors of 4 in which every example sees the mean of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return self.a(z - z.mean(0)) + c_noise[:, None]


class Normalising(Mixing):
    """And by the way it is mostly done."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False, track_running_stats=False)

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return self.a(self.norm(z)) + c_noise[:, None]


class Paired(Hinge):
    """A loss that compares an example with the next."""

    def __call__(self, F: Network, *rows: Tensor) -> Tensor:
        return super().__call__(F, *rows) * super().__call__(F, *(t.roll(1, 0) for t in rows))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("engine", ["layers", "opacus"])
@pytest.mark.parametrize("kind", [Mixing, Normalising])
def test_a_network_that_mixes_examples_is_refused(kind: Callable[[], nn.Module], engine: str, n: int) -> None:
    """Clipping would bound nothing. The other engines see one example at a time."""
    with pytest.raises(ValueError, match="engine: the loss of one example depends on others in its batch"):
        run(ENGINES[engine], kind(), draws_of(n, 2, shape=(4,)), 1.0)


def test_a_loss_that_mixes_examples_is_refused() -> None:
    for engine in ("layers", "opacus"):
        with pytest.raises(ValueError, match="depends on others"):
            ENGINES[engine](discriminator(), pairs(4, 1), loss=Paired(), C=1.0)


def test_without_that_check_such_a_network_would_be_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_apart", lambda *args: None)
    run(opacus_hooks.add_clipped_sum, Mixing(), draws_of(3, 1, shape=(4,)), 1.0)


def test_a_batch_in_parts_and_joined_again() -> None:
    batch = pairs(5, 3)
    assert [part.shape for part in batch.split(2)] == [(2, 3), (2, 3), (1, 3)]
    again = Batch.joined(batch.split(2))
    assert again.shape == batch.shape == (5, 3)
    for a, b in zip((*again.each, *again.drawn), (*batch.each, *batch.drawn), strict=True):
        assert torch.equal(a, b)
    assert batch.map(lambda t: t[:0]).split(2) == []


def test_rows_go_by_example_or_by_draw() -> None:
    x, made = torch.arange(2.0), torch.arange(6.0).view(2, 3)
    batch = Batch(each=(x,), drawn=(made,), K=3)
    assert [t.tolist() for t in batch.flat()] == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5]]
    assert [t.tolist() for t in batch.by_draw()] == [[0, 1, 0, 1, 0, 1], [0, 3, 1, 4, 2, 5]]


def test_what_stands_in_for_examples_is_none_of_their_values() -> None:
    rng, few = torch.Generator().manual_seed(0), pairs(2, 3)
    made = Hinge().stand_in(few, rng)
    for a, b in zip((made.each[0], made.drawn[0]), (few.each[0], few.drawn[0]), strict=True):
        assert a.shape == b.shape and not (a == b).any() and math.isclose(float(a.std()), 1, rel_tol=0.2)
    draws = draws_of(2, 3)
    z, (noise, sigma, label) = LOSS.stand_in(draws, rng).each[0], LOSS.stand_in(draws, rng).drawn
    assert not (z == draws.each[0]).any() and not (noise == draws.drawn[0]).any()
    assert (sigma == 1).all() and torch.equal(label, draws.drawn[2]), "in range"
