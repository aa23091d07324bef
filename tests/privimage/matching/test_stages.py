"""The noisy mean embedding: what one image can change, what is public, what is refused, whose features are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from known import entropy

from privimage.data.sets import PrivateSet
from privimage.errors import LostAnswer
from privimage.matching import stages as matching
from privimage.matching.central import LowPass
from privimage.matching.features import Phi, floats, phi_of
from privimage.matching.stages import ASK, UNIT, drawn
from privimage.means import answer
from privimage.methods.context import Context
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Budget, Event

IDENTITY = {"sensitive": "toy", "public": "toy-public"}
NAMES = {"fourier": "dp-merf", "perceptual": "dp-mepf"}
KINDS = tuple(NAMES)
CPU = torch.device("cpu")


def context_of(root: Path, kind: str, *, sigma: float, asked: float | None = None, **fields: Any) -> Context:
    config = resolve({"name": NAMES[kind], "query": {"function": {"steps": 3, "batch": 8}},
                      "means": {"sigma": sigma}, "fourier": {"features": 100}, **fields})  # fmt: skip
    events = config.member.shared(config, Budget(epsilon=50, delta=1e-5), identity=IDENTITY)
    return Context(
        config=config, events=events, draw=None, seed=0,
        asked_sigma={event.shared or "": asked or sigma for event in events.values()}, public=toys.public_set(),
        sensitive=toys.sensitive_set(), identity=IDENTITY, stages=toys.stages_at(root),
    )  # fmt: skip


def asked(images: PrivateSet, features: Phi, *, sigma: float = 1e-9, number: int = 5) -> np.ndarray:
    event = Event(purpose="mean embedding", split="train", sigma=sigma)
    phi = partial(phi_of, features=features, device=CPU)
    return answer.ask(phi, images, d=features.d, event=event, entropy=entropy(number), unit=UNIT).value


class Broken:
    """Phi that are not what they should be: too long, or no numbers."""

    d, arrays = 6, dict[str, Any]()

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, : self.d] * self.factor


def odd(n: int) -> PrivateSet:
    """Black, white and random images."""
    x = np.random.default_rng(n).integers(0, 256, (n, 1, toys.SIDE, toys.SIDE), dtype=np.uint8)
    x[0], x[1] = 255, 0
    return PrivateSet(x=x, y=np.arange(n) % 3, name="toy", id="toy", split="train", classes=toys.LABELS)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Phi]:
    own = {kind: ASK[kind](context_of(tmp_path_factory.mktemp(kind), kind, sigma=1.0))[1] for kind in KINDS}
    shape = toys.public_set().shape
    own["ntk"] = drawn("ntk", resolve({"name": "dp-ntk", "ntk": {"width": 3}}), shape, device=CPU)
    own["pearl"] = drawn("characteristic", resolve({"name": "pearl"}), shape, device=CPU)
    own["central"] = LowPass(shape=shape, clip=0.3, device=CPU)
    return own | {"long": Broken(1e30), "no numbers": Broken(float("nan")), "infinite": Broken(float("inf"))}


@pytest.mark.parametrize("kind", [*KINDS, "ntk", "pearl", "central", "long", "no numbers", "infinite"])
def test_one_image_changes_one_row_by_at_most_the_sensitivity(kind: str, features: dict[str, Phi]) -> None:
    images = odd(9)
    whole = asked(images, features[kind])
    for i in range(9):
        keep = np.arange(9) != i
        changed = whole - asked(replace(images, x=images.x[keep], y=images.y[keep]), features[kind])
        assert np.flatnonzero(np.abs(changed).sum(axis=1)).tolist() == [images.y[i]]
        assert np.linalg.norm(changed) <= UNIT


def test_it_is_seen_if_nothing_is_clipped(features: dict[str, Phi], monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(phi: np.ndarray, unit: int) -> np.ndarray:
        both = np.concatenate([phi, np.ones((len(phi), 1))], axis=1)
        return (both * unit).clip(-1e15, 1e15).astype(np.int64)

    monkeypatch.setattr(answer, "contributions", unclipped)
    for kind in KINDS:
        with pytest.raises(AssertionError):
            test_one_image_changes_one_row_by_at_most_the_sensitivity(kind, features)


def every_entry_has_noise(features: Phi) -> None:
    exact = asked(odd(5), features)
    noise = np.stack([asked(odd(5), features, sigma=3, number=e) - exact for e in range(60)]) / UNIT
    assert noise.std() == pytest.approx(3, rel=0.05)
    assert np.abs(noise.std(axis=0) / 3 - 1).max() < 0.6, "every entry, the counts included"


def test_every_entry_has_noise(features: dict[str, Phi]) -> None:
    every_entry_has_noise(features["fourier"])


def test_it_is_seen_if_an_entry_has_none(features: dict[str, Phi], monkeypatch: pytest.MonkeyPatch) -> None:
    real = Event.perturb

    def all_but_the_count(self: Event, value: Any, **rest: Any) -> Any:
        noisy = real(self, value, **rest)
        noisy[0, -1] = value[0, -1]
        return noisy

    monkeypatch.setattr(Event, "perturb", all_but_the_count)
    with pytest.raises(AssertionError, match="counts included"):
        every_entry_has_noise(features["fourier"])


def what_is_public_follows_from_public_images(root: Path) -> None:
    found = []
    for seed in (1, 7):
        context = context_of(root / str(seed), "perceptual", sigma=0.5)
        found.append(ASK["perceptual"](replace(context, sensitive=toys.sensitive_set(train=seed)))[1].arrays)
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0] if name != "embedding")
    assert not np.array_equal(found[0]["embedding"], found[1]["embedding"])


def test_what_is_public_follows_from_public_images_alone(tmp_path: Path) -> None:
    what_is_public_follows_from_public_images(tmp_path)


def test_it_is_seen_if_features_are_fitted_on_the_sensitive_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = matching.perceptual

    def fitted_on_them(context: Context) -> Any:
        train = context.sensitive.train
        monkeypatch.setattr(matching, "_told", lambda *rest: [floats(train.rows(np.arange(20)), device=CPU)])
        return real(context)

    monkeypatch.setitem(ASK, "perceptual", fitted_on_them)
    with pytest.raises(AssertionError):
        what_is_public_follows_from_public_images(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_means_are_those_of_the_training_images(kind: str, tmp_path: Path) -> None:
    context = context_of(tmp_path, kind, sigma=0.01)
    means, features = ASK[kind](context)
    train = context.sensitive.train
    phi = phi_of(train.rows(np.arange(len(train))), features, device=CPU)
    true = np.stack([phi[train.y == y].mean(axis=0) for y in range(len(train.classes))])
    n = np.bincount(train.y)
    np.testing.assert_allclose(means.n, n, atol=1)
    error = (means.M * (means.n / n)[:, None] - true) / means.noise[:, None]  # of the sums: that of the count is out
    assert np.abs(error).max() < 6 and error.std() == pytest.approx(1, rel=0.4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_asked_once_and_derived_for_more_noise(kind: str, tmp_path: Path) -> None:
    precise, _ = ASK[kind](context_of(tmp_path, kind, sigma=0.5))
    again = context_of(tmp_path, kind, sigma=8.0, asked=0.5)
    derived, _ = ASK[kind](again)
    (charge,) = again.stages.ledger.charges()
    assert [event.sigma for event in charge.events] == [0.5]
    in_sums = [means.noise * means.n for means in (precise, derived)]  # the noise in a mean is as wrong as its count
    np.testing.assert_allclose(in_sums[1], 8.0 / 0.5 * in_sums[0], rtol=1e-6)
    sums = [means.M * means.n[:, None] for means in (precise, derived)]  # without the error of the counts
    assert np.std(sums[1] - sums[0]) == pytest.approx(in_sums[1].mean(), rel=0.3)


def test_an_answer_of_another_query_function_is_refused_and_none_is_asked_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, real = context_of(tmp_path, "perceptual", sigma=0.5), matching.query_function
    other = toys.query_function(toys.query_weights(toys.public_set()))
    calls: list[int] = []

    def lost(*rest: Any, **named: Any) -> Any:
        calls.append(1)
        return other if len(calls) > 1 else real(*rest, **named)

    monkeypatch.setattr(matching, "noisy_means", lambda *rest: pytest.fail("asked"))
    monkeypatch.setattr(matching, "query_function", lost)
    with pytest.raises(pytest.fail.Exception):
        ASK["perceptual"](context)
    with pytest.raises(LostAnswer, match="sees something else"):
        ASK["perceptual"](context)
    assert not context.stages.ledger.charges()


def test_an_answer_is_not_read_by_another_network_whose_layers_were_fitted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query function and what was fitted to it are gone, and the paid answer is not."""
    context, real = context_of(tmp_path, "perceptual", sigma=0.5), matching.noisy_means
    ASK["perceptual"](context)

    def of_another(*rest: Any) -> Any:
        means, asked = real(*rest)
        return means, {**asked, "probe": asked["probe"] + 1}

    monkeypatch.setattr(matching, "noisy_means", of_another)
    with pytest.raises(LostAnswer, match="sees something else"):
        ASK["perceptual"](context)
