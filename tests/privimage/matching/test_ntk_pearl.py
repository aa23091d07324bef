"""Features of DP-NTK are the gradient that they are said to be; the critic of PEARL weighs what is missed most."""

from __future__ import annotations

import numpy as np
import torch

from privimage.generators import sizes
from privimage.generators.generator import OneStep
from privimage.matching.config import MatchConfig
from privimage.matching.features import Fourier
from privimage.matching.fit import Opponent, match
from privimage.matching.ntk import Ntk
from privimage.matching.pearl import BOUND, Critic, frequencies
from privimage.means.answer import Means

CPU, SHAPE = torch.device("cpu"), (1, 8, 8)
W = frequencies(features=200, length=0.37, spread=0.5, shape=SHAPE)


def test_ntk_features_are_the_gradient_of_the_network() -> None:
    arrays = Ntk.drawn(width=5, shape=SHAPE)
    phi = Ntk(arrays, device=CPU)
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    weights, signs = (torch.from_numpy(arrays[name]).requires_grad_() for name in ("weights", "signs"))
    for image, found in zip(x, phi(x), strict=True):
        f = (signs * (torch.cat([image.flatten(), torch.ones(1)]) @ weights.T).relu()).sum()
        g = torch.cat([part.flatten() for part in torch.autograd.grad(f, [weights, signs])])
        torch.testing.assert_close(found, g / g.norm())
    assert phi.d == phi(x).shape[1] == 5 * (64 + 2)
    moved = x.requires_grad_()
    assert torch.autograd.grad(phi(moved).sum(), moved)[0].abs().sum() > 0, "a generator can be trained by it"


def test_weights_are_even_at_first_bounded_and_one_in_the_mean() -> None:
    critic = Critic(W, shape=SHAPE)
    assert torch.equal(critic(), torch.ones(100))
    torch.nn.init.normal_(critic.v, std=100.0)
    w = critic()
    assert float(w.mean()) == 1 or abs(float(w.mean()) - 1) < 1e-5
    assert float(w.max() / w.min()) <= np.exp(2 * BOUND) * (1 + 1e-5)


def test_the_critic_goes_where_more_is_missed() -> None:
    critic = Critic(W, shape=SHAPE)
    opponent, long = Opponent(critic, lr=0.05), critic.u[:, 0] > 0
    off = torch.cat([long.float() + 0.1] * 2)[None]
    for _ in range(30):
        opponent.weighed(off, torch.ones(1))
    w = critic().detach()
    assert w[long].mean() > 1.3 * w[~long].mean()


def test_frequencies_are_of_many_lengths() -> None:
    lengths = np.linalg.norm(W, axis=1)
    even = np.linalg.norm(Fourier.drawn(features=200, length=0.37, shape=SHAPE), axis=1)
    assert np.log(lengths).std() > 3 * np.log(even).std()


def test_a_generator_is_trained_against_the_critic() -> None:
    generator = sizes.build("implicit-128", shape=SHAPE, n_classes=2, seed=0)
    assert isinstance(generator, OneStep)
    features, opponent = Fourier(W, device=CPU), Opponent(Critic(W, shape=SHAPE), lr=0.02)
    bright = torch.zeros(2, *SHAPE)
    bright[0, :, :4], bright[1, :, 4:] = 0.8, 0.8
    means = Means(M=features(bright).numpy().astype(np.float64), noise=np.zeros(2), n=np.ones(2))
    state = match(generator, features, means, config=MatchConfig(steps=40, batch=16), seed=0, device=CPU,
                  progress=lambda done, total: None, critic=opponent)  # fmt: skip
    generator.F.load_state_dict(state)
    x = generator.pixels(generator.noise(8, Numbers()), torch.arange(8) % 2).detach()
    above = x[:, :, :4].mean(dim=(1, 2, 3)) - x[:, :, 4:].mean(dim=(1, 2, 3))
    assert (above[::2] > 0.2).all() and (above[1::2] < -0.2).all()
    assert opponent.weights.v.abs().sum() > 0  # type: ignore[union-attr, operator]


class Numbers:
    """Seeded."""

    def normals(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(1))

    def uniforms(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
