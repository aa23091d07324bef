"""The query function, the noisy histogram with its exact noise, and the selection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known import entropy

from privimage import semantics
from privimage.data.sets import PrivateSet, PublicSet
from privimage.errors import InputError, Violation
from privimage.privacy.budget import Event
from privimage.progress import silent
from privimage.query import SelectConfig, SemanticsConfig
from privimage.query_training import train_query_function
from privimage.semantics import QueryFunction, select, select_at_random
from privimage.shared_answer import noisier
from privimage.workers import Workers

QUERY = Event(purpose="query", split="train", sigma=7.0)


def ask(function: QueryFunction, images: PrivateSet, *, k1: int = 1, sigma: float = 7.0, number: int = 5) -> np.ndarray:
    event = Event(purpose="query", split="train", sigma=sigma)
    release = semantics.ask(function, images, k1=k1, event=event, entropy=entropy(number))
    assert release.events == (event,) and release.private
    return release.value


def counts(function: QueryFunction, images: PrivateSet, k1: int) -> np.ndarray:
    """The histogram by its definition."""
    S = np.zeros((len(images.classes), function.n_classes))
    for y, row in zip(images.y, function.top(images, k1=k1), strict=True):
        for c in row:
            S[y, c] += 1
    return S


@pytest.mark.parametrize("k1", [1, 3])
def test_counts_are_k1_different_classes_an_image(
    query_function: QueryFunction, sensitive: PrivateSet, k1: int
) -> None:
    top = query_function.top(sensitive, k1=k1)
    assert top.shape == (40, k1) and all(len(set(row)) == k1 for row in top.tolist())
    S = ask(query_function, sensitive, k1=k1, sigma=1e-9)
    np.testing.assert_allclose(S, counts(query_function, sensitive, k1), atol=1e-6)
    assert S.sum() == pytest.approx(40 * k1)


@pytest.mark.parametrize("k1", [1, 4])
def test_noise_std_is_sqrt_k1_sigma_over_all_entries(
    query_function: QueryFunction, sensitive: PrivateSet, k1: int
) -> None:
    few = replace(sensitive, x=sensitive.x[:3], y=sensitive.y[:3])
    S = counts(query_function, few, k1)
    noise = np.stack([ask(query_function, few, k1=k1, number=e) - S for e in range(200)])
    assert noise.std() == pytest.approx(k1**0.5 * 7, rel=0.03)
    assert np.abs(noise.std(axis=0) / (k1**0.5 * 7) - 1).max() < 0.25  # every entry, no row without
    across = np.corrcoef(noise.reshape(200, -1).T) - np.eye(36)
    assert np.abs(across).max() < 0.35  # and no entry shares the noise of another


@pytest.mark.parametrize("k1", [1, 3])
def test_one_image_more_moves_the_histogram_by_sqrt_k1(
    query_function: QueryFunction, sensitive: PrivateSet, k1: int
) -> None:
    whole = ask(query_function, sensitive, k1=k1)
    for i in (0, 7, 39):
        keep = np.arange(40) != i
        less = ask(query_function, replace(sensitive, x=sensitive.x[keep], y=sensitive.y[keep]), k1=k1)
        assert np.linalg.norm(whole - less) == pytest.approx(k1**0.5)


def test_an_empty_set_and_a_label_without_images_are_noised_like_others(
    query_function: QueryFunction, sensitive: PrivateSet
) -> None:
    empty = replace(sensitive, x=sensitive.x[:0], y=sensitive.y[:0])
    assert ask(query_function, empty).std() == pytest.approx(7, rel=0.35)
    assert ask(query_function, empty).shape == (3, 12)


@pytest.mark.parametrize("k1", [1, 4])
def test_noisier_has_the_variance_of_the_wanted_sigma_in_all(k1: int) -> None:
    true = np.zeros((100, 200))
    asked = QUERY.perturb(np.zeros((100, 200), np.int64), sensitivity=k1**0.5, stream=entropy(0).stream("histogram"))
    for wanted in (7.0, 10.0, 50.0):
        wider = noisier(asked, sensitivity=k1**0.5, asked=7.0, wanted=wanted, entropy=entropy(9))
        assert (wider - true).std() == pytest.approx(k1**0.5 * wanted, rel=0.02)
        if wanted > 7:
            extra = wider - asked
            assert abs(np.corrcoef(extra.ravel(), asked.ravel())[0, 1]) < 0.03


def test_an_answer_is_never_made_less_noisy() -> None:
    with pytest.raises(Violation, match="not taken away"):
        noisier(np.zeros((2, 3)), sensitivity=1, asked=7.0, wanted=5.0, entropy=entropy(1))


def test_different_entropies_ask_with_different_noise(query_function: QueryFunction, sensitive: PrivateSet) -> None:
    one, same, other = (ask(query_function, sensitive, number=e) for e in (2**99, 2**99, 2**99 + 2**170))
    assert np.array_equal(one, same) and not np.isclose(one, other).any()


def test_training_is_public_and_a_function_of_its_seed(public: PublicSet, query_state: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    again = train_query_function(
        public, config=SemanticsConfig(steps=6, batch=24), seed=0, workers=Workers.alone(), progress=silent
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.allclose(again[name].double(), query_state[name].double(), atol=1e-5) for name in again)


def test_loading_the_query_function_leaves_the_global_state(query_state: dict[str, Any]) -> None:
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        QueryFunction.load(query_state, channels=1, n_classes=12, device=torch.device("cpu"))
        assert torch.equal(before, torch.get_rng_state())


# ---- selection


def many(n_classes: int = 40) -> PublicSet:
    sizes = 1 + np.arange(n_classes) % 4  # classes of different sizes
    y = np.repeat(np.arange(n_classes), sizes)
    x = np.zeros((len(y), 1, 2, 2), np.uint8)
    return PublicSet(x=x, y=y, name="many", classes=tuple(map(str, range(n_classes))))


PUBLIC = many()


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_k2_disjoint_classes_a_label_and_weights_that_sum_to_one(seed: int, k2: int, labels: int) -> None:
    S = np.random.default_rng(seed).normal(0, 10, (labels, 40))
    for chosen in (select(S, PUBLIC, k2=k2), select_at_random(PUBLIC, n_labels=labels, k2=k2, seed=seed)):
        assert chosen.classes.shape == (labels, k2) and len(set(chosen.classes.ravel().tolist())) == labels * k2
        assert len(set(chosen.index.tolist())) == len(chosen.index)
        assert chosen.weight.sum() == pytest.approx(1) and (chosen.weight > 0).all()
        for y in range(labels):
            mine = chosen.label == y
            assert set(PUBLIC.y[chosen.index[mine]].tolist()) == set(chosen.classes[y].tolist())
            assert chosen.weight[mine].sum() == pytest.approx(1 / labels)
        assert len(chosen.index) == np.isin(PUBLIC.y, chosen.classes).sum()  # all images of a class


@given(st.integers(0, 10_000), st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_labels_does_not_matter(seed: int, order: list[int]) -> None:
    S = np.random.default_rng(seed).normal(0, 10, (5, 40))
    np.testing.assert_array_equal(select(S[order], PUBLIC, k2=3).classes, select(S, PUBLIC, k2=3).classes[order])


def test_without_noise_the_most_frequent_classes_are_chosen_and_weigh_as_their_counts() -> None:
    S = np.zeros((2, 40))
    S[0, [3, 5]], S[1, [3, 9, 11]] = (30, 10), (50, 20, 5)
    chosen = select(S, PUBLIC, k2=2)
    assert chosen.classes.tolist()[1] == [3, 9] and chosen.classes.tolist()[0][0] == 5  # 3 serves the larger count
    of_9 = chosen.weight[PUBLIC.y[chosen.index] == 9].sum()
    assert of_9 == pytest.approx(20 / 70 / 2)


def test_selection_degrades_as_sigma_grows() -> None:
    S = np.zeros((4, 40), np.int64)
    truth = np.arange(12).reshape(4, 3)
    for y, row in enumerate(truth):
        S[y, row] = 40

    def hits(sigma: float) -> float:
        found = []
        for number in range(30):
            stream = entropy(number).stream("histogram")
            noisy = Event(purpose="query", split="train", sigma=sigma).perturb(S, sensitivity=1, stream=stream)
            classes = select(noisy, PUBLIC, k2=3).classes
            found.append(
                np.mean([len(set(a) & set(b)) for a, b in zip(classes.tolist(), truth.tolist(), strict=True)]) / 3
            )
        return float(np.mean(found))

    quality = [hits(sigma) for sigma in (1, 20, 60, 1000)]
    assert quality == sorted(quality, reverse=True) and quality[0] == 1.0
    assert quality[-1] == pytest.approx(3 / 40, abs=0.05)  # chance


def test_a_ratio_that_selects_nothing_names_its_key_and_the_least_that_works() -> None:
    with pytest.raises(InputError, match=r"^method\.select\.ratio: got 0\.01, .* use at least 0\.25$"):
        SelectConfig(ratio=0.01).k2(n_public=40, n_labels=10)
    assert SelectConfig(ratio=0.25).k2(n_public=40, n_labels=10) == 1
    assert SelectConfig(ratio=1).k2(n_public=45, n_labels=10) == 4  # never more than there are
