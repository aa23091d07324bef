"""Votes: one of each image in each round, whatever it looks like; noise in every entry; nothing else is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import toys
from known import entropy

from privimage.data.placed import ROWS
from privimage.data.sets import PrivateSet
from privimage.errors import Violation
from privimage.evolution import votes
from privimage.evolution.votes import ask, nearest
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy

VOTES = Event(purpose="votes", split="train", sigma=1e-9, steps=3)
LABELS = len(toys.LABELS)


def see(x: np.ndarray) -> np.ndarray:
    """A few pixels; no numbers of a white image, far too large ones of one that begins with white."""
    f = x.reshape(len(x), -1)[:, :5].astype(np.float32)
    f[(x == 255).all(axis=(1, 2, 3))] = np.nan
    return np.where(f[:, :1] == 255, 1e30, f)


def images(n: int, seed: int = 0) -> PrivateSet:
    x = np.random.default_rng(seed).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    x[0], x[1], x[2, 0, 0, 0] = 255, 0, 255
    return PrivateSet(x=x, y=np.arange(n) % LABELS, name="toy", id="toy", split="train", classes=toys.LABELS)


def proposed(number: int, before: Any) -> np.ndarray:
    """The same for all labels in the first round."""
    rng = np.random.default_rng(number)
    return rng.normal(128, 50, (LABELS if number else 1, 7, 5)).astype(np.float32)


def asked(of: PrivateSet, *, number: int = 5, **event: Any) -> np.ndarray:
    """[rounds, labels, candidates]."""
    own = VOTES.model_copy(update=event)
    release = ask(see, of, proposed, event=own, entropy=entropy(number), progress=lambda done, total: None)
    assert release.events == (own,) and len(release.value) == own.steps
    return np.stack(release.value)


def one_image_has_one_vote_a_round() -> None:
    whole = images(20)
    for i in range(20):
        keep = np.arange(20) != i
        changed = asked(whole) - asked(replace(whole, x=whole.x[keep], y=whole.y[keep]))
        for own in changed:
            assert np.abs(own).sum() == pytest.approx(1) and own[whole.y[i]].sum() == pytest.approx(1)


def test_one_image_has_one_vote_a_round_whatever_it_looks_like() -> None:
    one_image_has_one_vote_a_round()


def test_it_is_seen_if_votes_are_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = votes.count
    monkeypatch.setattr(votes, "count", lambda *rest, **named: 2 * real(*rest, **named))
    with pytest.raises(AssertionError):
        one_image_has_one_vote_a_round()


def test_it_is_seen_if_an_image_votes_for_the_two_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(voters: Any, candidates: Any, *, labels: int) -> np.ndarray:
        H = np.zeros((labels, candidates.shape[1]), np.int64)
        for batch in voters:
            for row, label in zip(batch.seen[batch.row], batch.y, strict=True):
                order = np.abs(candidates[label % len(candidates)] - row).sum(1).argsort()
                H[label, order[:2]] += 1
        return H

    monkeypatch.setattr(votes, "count", two)
    with pytest.raises(AssertionError):
        one_image_has_one_vote_a_round()


def every_entry_of_every_round_has_noise() -> None:
    exact = asked(images(9))
    noise = np.stack([asked(images(9), number=e, sigma=3.0) - exact for e in range(80)])
    assert noise.std() == pytest.approx(3, rel=0.04)
    assert np.abs(noise.std(axis=0) / 3 - 1).max() < 0.5, "every entry"
    across = np.corrcoef(noise.reshape(80, -1).T) - np.eye(noise[0].size)
    assert np.abs(across).max() < 0.65, "every round draws its own"


def test_every_entry_of_every_round_has_noise() -> None:
    every_entry_of_every_round_has_noise()


def test_it_is_seen_if_an_entry_has_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Event.perturb

    def all_but_one(self: Event, value: Any, **rest: Any) -> Any:
        noisy = real(self, value, **rest)
        noisy[1, 1] = value[1, 1]
        return noisy

    monkeypatch.setattr(Event, "perturb", all_but_one)
    with pytest.raises(AssertionError, match="every entry"):
        every_entry_of_every_round_has_noise()


def test_it_is_seen_if_all_rounds_have_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Entropy.stream
    monkeypatch.setattr(Entropy, "stream", lambda self, name: real(self, "always"))
    with pytest.raises(AssertionError, match="draws its own"):
        every_entry_of_every_round_has_noise()


def test_an_image_votes_for_the_nearest_candidate_of_its_label() -> None:
    rng = np.random.default_rng(0)
    block, candidates = (rng.normal(size=shape).astype(np.float32) for shape in ((ROWS, 6), (LABELS, 11, 6)))
    true = np.square(block[:, None, None] - candidates).sum(-1).argmin(-1)
    np.testing.assert_array_equal(nearest(block, candidates), true)


def test_what_is_proposed_is_told_noisy_votes_alone() -> None:
    told: list[Any] = []

    def propose(number: int, before: Any) -> np.ndarray:
        told.append(before)
        return proposed(number, before)

    event = VOTES.model_copy(update={"sigma": 2.0})
    release = ask(see, images(9), propose, event=event, entropy=entropy(1), progress=lambda done, total: None)
    assert told[0] is None and all(a is b for a, b in zip(told[1:], release.value[:-1], strict=True))


@pytest.mark.parametrize("n", [3, ROWS, ROWS + 1])
def test_every_image_is_asked_whatever_their_number(n: int) -> None:
    H = asked(images(n), steps=1)[0]
    np.testing.assert_allclose(H.sum(axis=1), np.bincount(np.arange(n) % LABELS), atol=1e-6)


def test_it_refuses_another_split() -> None:
    with pytest.raises(Violation, match="validation"):
        asked(replace(images(3), split="validation"))
