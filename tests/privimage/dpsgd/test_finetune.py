"""Fine-tuning: the step is the formula at the top of finetune.py, with the noise that the event declares."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from known import entropy

from privimage.data.sets import PrivateSet
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import _optimizer, fine_tune
from privimage.dpsgd.noise import StepNoise
from privimage.dpsgd.normals import Tensors
from privimage.dpsgd.poisson import poisson_batches
from privimage.dpsgd.spectral import kept_directions
from privimage.generators import edm as diffusion
from privimage.generators.diffusion import draw
from privimage.generators.edm import EDM
from privimage.generators.generator import Generator
from privimage.privacy.budget import Event
from privimage.privacy.looks import Seen
from privimage.workers import Workers

Tiny = Callable[..., Generator]
ADAM = FinetuneConfig(optimizer="adam", lr=0.01, C=0.1, K=2, averaged=1e-9, P_mean=None, label_dropout=0.3)
ENTROPY = entropy(2**100 + 1)
SGD = Event(purpose="dp-sgd", split="train", sigma=1.5, q=0.5, steps=3)


def tune(
    generator: Generator, sensitive: PrivateSet, event: Event = SGD, *, config: FinetuneConfig = ADAM, **changed: Any
) -> dict[str, torch.Tensor]:
    arguments: dict[str, Any] = {"entropy": ENTROPY, "workers": Workers.alone(), "seen": Seen(split="train")} | changed
    release = fine_tune(generator, sensitive, config=config, event=event, **arguments)
    assert release.events == (event,) and release.private == event.private
    return release.value.state


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.ravel().double() for tensor in state.values()])


def gradient_of_the_mean(generator: Generator, sensitive: PrivateSet, batch: torch.Tensor, step: int) -> None:
    """Leaves in p.grad the gradient of the mean loss, by plain autograd, with the draws of that step."""
    rng = Tensors(ENTROPY.stream(f"draws/{step}/0"))
    z, y = generator.codec.encode(torch.from_numpy(sensitive.x[batch])), torch.from_numpy(sensitive.y[batch])
    draws = draw(z, y, K=2, edm=generator.edm, null=3, label_dropout=0.3, rng=rng)
    generator.F.zero_grad()
    diffusion.loss(generator.F, *draws.flat(), edm=generator.edm).mean().backward()


@pytest.mark.parametrize(
    "event",
    [
        Event(purpose="training", split="train", sigma=0, steps=4),
        Event(purpose="dp-sgd", split="train", sigma=1e-9, steps=4),
    ],
)
def test_without_noise_and_clipping_it_is_adam_on_the_mean_gradient(
    tiny: Tiny, sensitive: PrivateSet, event: Event
) -> None:
    got = tune(tiny(), sensitive, event, config=ADAM.model_copy(update={"C": 1e3}))
    plain = tiny()
    adam = torch.optim.Adam(plain.F.parameters(), lr=0.01, betas=(ADAM.momentum, 0.99))
    for step in range(4):
        adam.param_groups[0]["lr"] = 0.01 * (1 - 0.9 * step / 4)
        gradient_of_the_mean(plain, sensitive, torch.arange(len(sensitive)), step)
        adam.step()
    start, expected = flat(tiny().F.state_dict()), flat(plain.F.state_dict())
    assert (flat(got) - expected).norm() < 1e-2 * (expected - start).norm()


def test_the_divisor_is_the_expected_batch(tiny: Tiny, sensitive: PrivateSet) -> None:
    event = Event(purpose="training", split="train", sigma=0, q=0.4, steps=1)
    (batch,) = poisson_batches(n=40, q=0.4, steps=1, stream=ENTROPY.stream("batches"))
    assert len(batch) != 16
    generator, plain = tiny(), tiny()
    tune(generator, sensitive, event)
    gradient_of_the_mean(plain, sensitive, batch, 0)
    for p, mean in zip(generator.F.parameters(), plain.F.parameters(), strict=True):
        assert mean.grad is not None
        torch.testing.assert_close(p.grad, mean.grad * len(batch) / 16, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "spectral"])
def test_noise_has_the_declared_std_and_is_new_at_every_step(tiny: Tiny, optimizer: str) -> None:
    F, event = tiny(width=64).F, Event(purpose="dp-sgd", split="train", sigma=2, q=0.25, steps=1)
    config = FinetuneConfig(optimizer=optimizer, C=0.3)  # type: ignore[arg-type]
    count = sum(p.numel() for p in F.parameters())
    seen = []
    with StepNoise(entropy(7), count=count, device=torch.device("cpu")) as made:
        stepper = _optimizer(F, config, event, C=0.3, n=40, noise=made)
        for step in range(2):
            made.begin(step)
            stepper.zero_grad(set_to_none=True)
            for p in F.parameters():
                p.grad = torch.zeros_like(p)
            stepper.step()
            seen.append(torch.cat([p.grad.ravel() for p in F.parameters() if p.grad is not None]))
    noise = torch.stack(seen)
    for step in range(2):  # it is that of the stream, sigma C times, over the expected batch
        expected = Tensors(entropy(7).stream(f"noise/{step}")).normals(count) * (2 * 0.3) / (0.25 * 40)
        torch.testing.assert_close(noise[step], expected.float(), rtol=1e-6, atol=0)
    assert noise.shape[1] > 40_000
    assert noise.std().item() == pytest.approx(2 * 0.3 / (0.25 * 40), rel=0.01)
    assert abs(noise.mean().item()) < 1e-3 and abs(torch.corrcoef(noise)[0, 1].item()) < 0.02


def test_an_empty_batch_still_takes_a_noisy_step(tiny: Tiny, sensitive: PrivateSet) -> None:
    event = Event(purpose="dp-sgd", split="train", sigma=1.5, q=1e-7, steps=2)
    batches = poisson_batches(n=40, q=1e-7, steps=2, stream=ENTROPY.stream("batches"))
    assert [len(batch) for batch in batches] == [0, 0]
    generator = tiny()
    before = flat(generator.F.state_dict())
    state = tune(generator, sensitive, event)
    assert (flat(state) - before).abs().max() > 1e-3
    grads = torch.cat([p.grad.ravel() for p in generator.F.parameters() if p.grad is not None])
    assert grads.std().item() == pytest.approx(1.5 * 0.1 / (1e-7 * 40), rel=0.06)


@pytest.mark.parametrize("optimizer", ["adam", "spectral"])
def test_it_is_a_function_of_the_entropy(tiny: Tiny, sensitive: PrivateSet, optimizer: str) -> None:
    config = ADAM.model_copy(update={"optimizer": optimizer, "edge": 0.2})
    first = flat(tune(tiny(), sensitive, config=config))
    assert torch.equal(first, flat(tune(tiny(), sensitive, config=config)))
    assert not torch.equal(first, flat(tune(tiny(), sensitive, config=config, entropy=entropy(2**100 + 2))))


def test_entropy_that_differs_above_bit_128_gives_other_noise(tiny: Tiny, sensitive: PrivateSet) -> None:
    one, other = (flat(tune(tiny(), sensitive, entropy=entropy(7 + (bit << 200)))) for bit in (0, 1))
    assert (one - other).abs().mean() > 1e-3


def test_global_random_state_is_untouched(tiny: Tiny, sensitive: PrivateSet) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    tune(tiny(), sensitive)
    assert torch.equal(before, torch.get_rng_state())
    assert np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index]


def assert_same_way(tiny: Tiny, got: torch.Tensor, expected: torch.Tensor) -> None:
    """Both went the same way from the start; where the noised sum is near 0, Adam makes much of its rounding."""
    assert (got - expected).norm() < 1e-3 * (expected - flat(tiny().F.state_dict())).norm()


@pytest.mark.parametrize("engine", ["layers", "vmap"])
def test_engines_give_the_same_model(tiny: Tiny, sensitive: PrivateSet, engine: str) -> None:
    expected = flat(tune(tiny(), sensitive, config=ADAM.model_copy(update={"engine": "loop"})))
    got = flat(tune(tiny(), sensitive, config=ADAM.model_copy(update={"engine": engine})))
    assert_same_way(tiny, got, expected)


def test_physical_batches_change_rounding_only(tiny: Tiny, sensitive: PrivateSet) -> None:
    whole, parts = (
        flat(tune(tiny(), sensitive, config=ADAM.model_copy(update={"physical_batch": size}))) for size in (512, 7)
    )
    assert_same_way(tiny, whole, parts)


def test_frozen_layers_stay(tiny: Tiny, sensitive: PrivateSet) -> None:
    generator, start = tiny(), tiny().F.state_dict()
    generator.F.first.requires_grad_(False)
    state = tune(generator, sensitive)
    moved = {name for name in start if not torch.equal(state[name], start[name])}
    assert moved == {name for name in start if not name.startswith("first.")} - {"frequencies"}


def test_the_release_is_the_mean_of_the_last_iterates(tiny: Tiny, sensitive: PrivateSet) -> None:
    event = SGD.model_copy(update={"steps": 4})
    iterates: list[torch.Tensor] = []
    generator = tiny()

    def watch(done: int, total: int) -> None:
        assert total == 4 and done == len(iterates) + 1
        iterates.append(flat(generator.F.state_dict()))

    state = tune(generator, sensitive, event, config=ADAM.model_copy(update={"averaged": 0.5}), progress=watch)
    torch.testing.assert_close(flat(state), (iterates[2] + iterates[3]) / 2, rtol=1e-5, atol=1e-6)


def test_noise_levels_of_an_example_are_stratified() -> None:
    edm, rng = EDM(P_mean=0.3, P_std=1.2), Tensors(entropy(0).stream("draws"))
    draws = draw(
        torch.zeros(2000, 3),
        torch.zeros(2000, dtype=torch.long),
        K=4,
        edm=edm,
        null=9,
        label_dropout=0.25,
        rng=rng,
    )
    noise, sigma, label = draws.drawn
    place = torch.special.ndtr((sigma.double().log() - 0.3) / 1.2)
    assert ((place * 4).floor() == torch.arange(4)).double().mean() > 0.9999
    assert sigma.log().mean().item() == pytest.approx(0.3, abs=0.03)
    assert sigma.log().std().item() == pytest.approx(1.2, abs=0.03)
    assert (label == 9).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(draws.flat()[2].view(2000, 4), sigma) and noise.std().item() == pytest.approx(1, abs=0.02)


def test_spectral_steps_keep_signal_and_drop_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    u, v = torch.randn(40, generator=rng), torch.randn(90, generator=rng)
    signal = torch.outer(u / u.norm(), v / v.norm())
    noise = 0.01 * torch.randn(40, 90, generator=rng)
    assert kept_directions(noise, noise_std=0.011).norm() == 0
    for M in (signal + noise, (signal + noise).T):
        kept = kept_directions(M, noise_std=0.011)
        assert torch.linalg.matrix_norm(kept, 2).item() == pytest.approx(1, rel=1e-3)
        assert kept.norm().item() == pytest.approx(1, rel=1e-3)  # one direction
    assert kept_directions(torch.zeros(3, 5), noise_std=0.0).norm() == 0
    full = kept_directions(torch.randn(4, 6, generator=rng), noise_std=0.0)
    torch.testing.assert_close(full @ full.T, torch.eye(4), atol=1e-4, rtol=0)
    assert math.isfinite(full.sum())
