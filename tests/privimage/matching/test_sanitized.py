"""GS-WGAN: an image moves an answer by the sensitivity at most, whatever it makes of its discriminator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import toys
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from known import entropy

from privimage.data.sets import PrivateSet
from privimage.generators import sizes
from privimage.generators.generator import OneStep
from privimage.generators.pretrain import Seeded
from privimage.matching import critics, sanitized
from privimage.matching.config import SanitizedConfig
from privimage.matching.sanitized import SENSITIVITY, UNIT, Discriminators, clipped, parted, train
from privimage.methods.declared import fields_of
from privimage.methods.method import load
from privimage.methods.resolve import resolve
from privimage.privacy.accounting import calibrate
from privimage.privacy.budget import Budget, Event, Release
from privimage.privacy.entropy import Entropy

CPU, SHAPE = torch.device("cpu"), (1, toys.SIDE, toys.SIDE)
CONFIG = SanitizedConfig(parts=8, steps=3, batch=6, rounds=2, warm=3, seen=3, width=8)
EVENT = Event(purpose="sanitized gradients", split="train", sigma=0.5, steps=3)
Patch = pytest.MonkeyPatch


def one_step() -> OneStep:
    generator = sizes.build("implicit-128", shape=SHAPE, n_classes=3, seed=0)
    assert isinstance(generator, OneStep)
    return generator


def trained(images: PrivateSet, config: SanitizedConfig = CONFIG, sigma: float = 0.5, **rest: Any) -> dict[str, Any]:
    event = EVENT.model_copy(update={"sigma": sigma, "steps": config.steps})
    arguments: dict[str, Any] = {"progress": lambda done, total: None, "entropy": entropy(5)} | rest
    release = train(one_step(), images, config=config, event=event, seed=0, device=CPU, **arguments)
    assert release.events == (event,)
    return release.value


# ---- neighbours


@dataclass(frozen=True)
class Coupled(Entropy):
    """The same random numbers for all images but one, which is not there."""

    gone: int = 0

    def stream(self, name: str) -> Any:
        real = super().stream(name)
        if name == "parts":
            uniforms = real.uniforms
            real.uniforms = lambda n: np.delete(uniforms(n + 1), self.gone)  # type: ignore[method-assign]
        return real


def sums(images: PrivateSet, own: Entropy, config: SanitizedConfig) -> list[np.ndarray]:
    """What every step would be asked, where all that was answered is the same whatever the images."""
    found = list[np.ndarray]()

    def asked(total: np.ndarray, *, event: Event, stream: Any) -> Release[np.ndarray]:
        found.append(total)
        told = np.random.default_rng(len(found)).normal(size=total.shape) * UNIT
        return Release(value=told, events=(event,))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanitized, "asked", asked)
        trained(images, config, entropy=own)
    return found


def an_image_moves_a_sum_by_the_sensitivity_at_most(images: PrivateSet, config: SanitizedConfig = CONFIG) -> float:
    """The most that it moved, over the bound."""
    whole, most = sums(images, entropy(5), config), 0.0
    for gone in (0, 7, len(images) - 1):
        x, y = (np.delete(a, gone, axis=0) for a in (images.x, images.y))  # type: ignore[arg-type]
        without = sums(replace(images, x=x, y=y), Coupled(entropy(5).raw, gone), config)
        for a, b in zip(whole, without, strict=True):
            most = max(most, float(np.linalg.norm((a - b).astype(float))) / SENSITIVITY)
            assert most <= 1
    return most


def hostile(patch: Patch) -> None:
    """Discriminators that say as much as they can of what they have learned."""
    real, least = sanitized.gradients, 1e6
    patch.setattr(sanitized, "gradients", lambda *args: least * torch.sign(real(*args) - real(*args).median()))


HOSTILE = CONFIG.model_copy(update={"critic_lr": 0.3})


def test_an_image_moves_a_sum_by_the_sensitivity_at_most(sensitive: PrivateSet) -> None:
    assert an_image_moves_a_sum_by_the_sensitivity_at_most(sensitive) > 0


def test_whatever_it_makes_of_its_discriminator(sensitive: PrivateSet, monkeypatch: Patch) -> None:
    hostile(monkeypatch)
    assert an_image_moves_a_sum_by_the_sensitivity_at_most(sensitive, HOSTILE) > 0.3


def without_clipping(patch: Patch) -> None:
    patch.setattr(sanitized, "clipped", lambda found, bound: (found.double() / bound * UNIT).trunc())


def clipped_together(patch: Patch) -> None:
    patch.setattr(sanitized, "clipped", lambda found, bound: len(found) * clipped(
        found.sum(dim=0, keepdim=True), bound=bound))  # fmt: skip


def parts_by_position(patch: Patch) -> None:
    patch.setattr(sanitized, "parted", lambda n, parts, stream: np.arange(n) * parts // n)


def draws_that_go_on_from_those_of_others(patch: Patch) -> None:
    real = Discriminators.learn

    def learn(self: Any, fake: torch.Tensor) -> None:
        self._draws.uniforms(len(self._sensitive))
        real(self, fake)

    patch.setattr(Discriminators, "learn", learn)


def discriminators_that_know_each_other(patch: Patch) -> None:
    real = critics.Critics.forward

    def forward(self: Any, u: Any, y: Any, some: slice = slice(None)) -> Any:
        value = real(self, u, y, some)
        return value * (1 + (value - value.mean()).square())

    patch.setattr(critics.Critics, "forward", forward)


FAULTS = (
    without_clipping,
    clipped_together,
    parts_by_position,
    draws_that_go_on_from_those_of_others,
    discriminators_that_know_each_other,
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.thorough
def test_it_is_seen(fault: Callable[[Patch], None], sensitive: PrivateSet, monkeypatch: Patch) -> None:
    hostile(monkeypatch)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        an_image_moves_a_sum_by_the_sensitivity_at_most(sensitive, HOSTILE)


def test_of_what_is_no_number_nothing_is_told() -> None:
    found = torch.ones(3, 2, 4)
    found[0, 0, 0], found[1, 1, 2] = torch.nan, torch.inf
    norms = clipped(found * 1e30, bound=1.0).flatten(1).norm(dim=1).tolist()
    assert norms[0] == norms[1] == 0 and 0.999 * UNIT < norms[2] <= UNIT


# ---- noise


def noise_is_new_in_every_step_and_as_large_as_declared(images: PrivateSet) -> None:
    drawn = list[np.ndarray]()
    real = Event.perturb

    def perturbed(self: Event, value: np.ndarray, **rest: Any) -> np.ndarray:
        noisy = real(self, value, **rest)
        drawn.append(noisy - value)
        return noisy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Event, "perturb", perturbed)
        trained(images, sigma=3)
    assert len(drawn) == CONFIG.steps
    for a, b in zip(drawn, drawn[1:] + drawn[:1], strict=True):
        assert a.std() / SENSITIVITY == pytest.approx(3, rel=0.1)
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1


def test_noise_is_new_in_every_step_and_as_large_as_declared(sensitive: PrivateSet) -> None:
    noise_is_new_in_every_step_and_as_large_as_declared(sensitive)


def test_it_is_seen_if_steps_share_their_noise(sensitive: PrivateSet, monkeypatch: Patch) -> None:
    real = Event.perturb
    monkeypatch.setattr(Event, "perturb", lambda self, value, *, sensitivity, stream: real(
        self, value, sensitivity=sensitivity, stream=entropy(9).stream("noise")))  # fmt: skip
    with pytest.raises(AssertionError):
        noise_is_new_in_every_step_and_as_large_as_declared(sensitive)


def test_it_is_seen_if_an_image_is_taken_to_add_a_summand(sensitive: PrivateSet, monkeypatch: Patch) -> None:
    monkeypatch.setattr(sanitized, "SENSITIVITY", UNIT)
    with pytest.raises(AssertionError):
        noise_is_new_in_every_step_and_as_large_as_declared(sensitive)


def test_another_accountant_finds_the_same_noise() -> None:
    method, config = load("gs-wgan"), resolve({"name": "gs-wgan"})
    ((_, ask),) = method.declaration.asking
    event = calibrate(budget=Budget(epsilon=1, delta=1e-5), access=ask.access(fields_of(config)))
    assert event.q == 1 and event.steps == fields_of(config)["sanitized.steps"]
    other = PLDAccountant()
    other.compose(SelfComposedDpEvent(GaussianDpEvent(event.sigma), event.steps))
    assert other.get_epsilon(1e-5) == pytest.approx(1, rel=0.01)


# ---- training


def test_a_killed_one_starts_again_and_ends_with_the_same_bits(sensitive: PrivateSet) -> None:
    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    expected = trained(sensitive)
    with pytest.raises(KeyboardInterrupt):
        trained(sensitive, progress=kill)
    again, other = trained(sensitive), trained(sensitive, entropy=entropy(6))
    assert all(torch.equal(again[name], expected[name]) for name in expected)
    assert not all(torch.equal(other[name], expected[name]) for name in expected)


def test_parts_are_even_and_drawn_for_every_image() -> None:
    part = parted(4000, parts=8, stream=entropy(1).stream("parts"))
    assert part.min() == 0 and part.max() == 7 and np.bincount(part).min() > 400
    assert abs(np.corrcoef(part[:-1], part[1:])[0, 1]) < 0.06


def test_a_part_without_images_has_a_discriminator_that_is_not_trained(sensitive: PrivateSet) -> None:
    few = replace(sensitive, x=sensitive.x[:3], y=sensitive.y[:3])  # type: ignore[index]
    own = Discriminators(few, config=CONFIG, event=EVENT, entropy=entropy(5), seed=0, device=CPU)
    before = own._critics.first.detach().clone()
    own.learn(own.low(torch.rand(6, *SHAPE)))
    untouched = [torch.equal(own._critics.first[k], before[k]) for k in range(CONFIG.parts)]
    assert untouched == [count == 0 for count in own._count] and any(untouched)
    assert all(value.isfinite().all() for value in trained(few).values())


def test_discriminators_say_nothing_of_labels_that_they_have_not_seen(sensitive: PrivateSet) -> None:
    of_one = sensitive.y == 1
    few = replace(sensitive, x=sensitive.x[of_one], y=sensitive.y[of_one])  # type: ignore[index]
    own = Discriminators(few, config=CONFIG, event=EVENT, entropy=entropy(5), seed=0, device=CPU)
    said = own.sum_of_clipped(own.low(torch.rand(6, *SHAPE)), torch.arange(6) % 3)
    assert said.any(axis=1).tolist() == [False, True, False] * 2


def test_images_have_what_those_of_their_label_have() -> None:
    y = np.arange(60) % 3
    x = np.random.default_rng(0).integers(0, 60, (60, *SHAPE))
    x[y == 0, :, :8] += 180
    x[y == 1, :, 8:] += 180
    images = replace(toys.private_set(60, seed=1), x=x.astype(np.uint8), y=y)
    config = CONFIG.model_copy(update={"parts": 12, "steps": 60, "batch": 24, "width": 16, "lr": 2e-3})
    generator = one_step()
    generator.F.load_state_dict(trained(images, config, sigma=0.05))
    label = torch.arange(9) % 3
    made = generator.pixels(generator.noise(9, Seeded(torch.Generator().manual_seed(0))), label).detach()
    above = made[:, :, :8].mean(dim=(1, 2, 3)) - made[:, :, 8:].mean(dim=(1, 2, 3))
    assert (above[label == 0] > 0.2).all() and (above[label == 1] < -0.2).all()
