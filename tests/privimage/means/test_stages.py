"""From the sensitive images to what is chosen: features by place, the answer with what reads it, the public images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys

from privimage.errors import InputError, LostAnswer
from privimage.means.config import MeansConfig
from privimage.means.embedding import Whitening
from privimage.means.features import extractor
from privimage.means.stages import Pool, noisy_means, tilted
from privimage.methods.context import Context
from privimage.methods.method import Sizes
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Budget
from privimage.privacy.ledger import Ledger
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.workers import Workers

IDENTITY = {"sensitive": "toy", "public": "toy-public"}


def context_of(root: Path, *, sigma: float, asked: float | None = None, **pool: Any) -> Context:
    store = FileStore(root / "store")
    stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(root / "ledger.jsonl"))
    config = resolve({"name": "privimage+m", "query": {"function": {"steps": 3, "batch": 8}},
                      "means": {"sigma": sigma}, "pool": pool})  # fmt: skip
    budget = Budget(epsilon=50, delta=1e-5)
    events = config.member.shared(config, budget, identity=IDENTITY)  # all it asks, whatever it costs
    asks = {event.shared or "": asked or sigma for event in events.values()}
    return Context(
        config=config, events=events, draw=None, seed=0, asked_sigma=asks, public=toys.public_set(),
        sensitive=toys.sensitive_set(), identity=IDENTITY, stages=stages,
    )  # fmt: skip


def pool_of(context: Context) -> Pool:
    config = context.config
    assert isinstance(config.means, MeansConfig)
    return Pool(config.means, config.pool, config.query, context)


def test_the_answer_is_asked_once_and_derived_for_more_noise(tmp_path: Path) -> None:
    first = context_of(tmp_path, sigma=0.5)
    precise, embedding = noisy_means(pool_of(first), first)
    again = context_of(tmp_path, sigma=8.0, asked=0.5)
    derived, same = noisy_means(pool_of(again), again)
    (charge,) = again.stages.ledger.charges()
    assert [event.sigma for event in charge.events] == [0.5]
    assert all(np.array_equal(value, embedding.arrays[name]) for name, value in same.arrays.items())
    in_sums = [means.noise * means.n for means in (precise, derived)]  # the noise in a mean is as wrong as its count
    np.testing.assert_allclose(in_sums[1], 8.0 / 0.5 * in_sums[0], rtol=1e-6)
    assert np.linalg.norm(derived.M - precise.M) > np.linalg.norm(precise.M) / 10


def test_the_means_are_those_of_the_training_images(tmp_path: Path) -> None:
    context = context_of(tmp_path, sigma=0.01)
    pool = pool_of(context)
    found, embedding = noisy_means(pool, context)
    train = context.sensitive.train
    phi = embedding(pool.extractor(train.rows(np.arange(len(train)))))
    true = np.stack([phi[train.y == y].mean(axis=0) for y in range(len(train.classes))])
    np.testing.assert_allclose(found.M, true, atol=0.02)
    np.testing.assert_allclose(found.n, np.bincount(train.y), atol=0.5)


def test_what_is_chosen_meets_the_means_better_than_chance(tmp_path: Path) -> None:
    context = context_of(tmp_path, sigma=0.05)
    pool = pool_of(context)
    means, embedding = noisy_means(pool, context)
    chosen, phi = tilted(pool, context), pool.phi(embedding)
    assert chosen.weight.sum() == pytest.approx(1) and chosen.index.max() < len(pool.views)
    labels = len(means.M)
    for y in range(labels):
        here = chosen.label == y
        assert chosen.weight[here].sum() == pytest.approx(1 / labels)
        mean = chosen.weight[here] @ phi[chosen.index[here]] * labels
        assert np.linalg.norm(mean - means.M[y]) < 0.7 * np.linalg.norm(phi.mean(axis=0) - means.M[y])


@pytest.mark.parametrize("field", ["resembling", "distinct"])
def test_what_a_file_says_of_nearness_decides_what_is_chosen(tmp_path: Path, field: str) -> None:
    context, found = context_of(tmp_path, sigma=2.0), []
    for value in (0.0, 1.0):
        means = context.config.means.model_copy(update={field: value})
        other = replace(context, config=context.config.model_copy(update={"means": means}))
        met = tilted(pool_of(other), other)
        found.append(np.bincount(met.index, weights=met.weight, minlength=1000))
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_an_answer_is_read_by_the_embedding_it_was_asked_in(tmp_path: Path) -> None:
    """Another machine may whiten with other signs: then the pool is looked at anew."""
    context = context_of(tmp_path, sigma=0.5)
    pool = pool_of(context)
    _, embedding = noisy_means(pool, context)
    before = pool.phi(embedding)
    other = np.array([-1.0, *[1.0] * 10], np.float32)
    pool.whitenings = tuple(Whitening(m=w.m, A=w.A * other[: w.A.shape[1]]) for w in pool.whitenings)
    pool.z = tuple(z * other[: z.shape[1]] for z in pool.z)
    assert np.abs(embedding.of(pool.z) - before).max() > 0.1
    np.testing.assert_allclose(pool.phi(embedding), before, atol=1e-5)


def test_what_is_public_follows_from_public_images_alone(tmp_path: Path) -> None:
    """Whatever the noise too: what a sweep of other budgets asks is the same question."""
    found = []
    for seed, sigma in ((1, 0.5), (7, 9.0)):
        context = context_of(tmp_path / str(seed), sigma=sigma)
        context = replace(context, sensitive=toys.sensitive_set(train=seed))
        pool = pool_of(context)
        found.append((*pool.z, *(w.A for w in pool.whitenings), *noisy_means(pool, context)[1].arrays.values()))
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_an_answer_of_another_query_function_is_refused_and_none_is_asked_with_it(tmp_path: Path) -> None:
    context = context_of(tmp_path, sigma=0.5)
    pool_of(context)
    other = context_of(tmp_path, sigma=0.5)
    pool = pool_of(other)
    function = toys.query_function(toys.query_weights(toys.public_set()))
    pool.__dict__["extractor"] = extractor(function, device=torch.device("cpu"))
    with pytest.raises(LostAnswer, match="sees something else"):
        noisy_means(pool, other)
    assert not other.stages.ledger.charges()


def test_public_images_that_do_not_differ_are_refused_before_anything_is_charged(tmp_path: Path) -> None:
    public = toys.public_set()
    first = np.array([np.flatnonzero(public.y == y)[0] for y in public.y])
    context = replace(context_of(tmp_path, sigma=0.5, views=1), public=replace(public, x=public.rows(first)))
    with pytest.raises(InputError, match="do not differ"):
        noisy_means(pool_of(context), context)
    assert not context.stages.ledger.charges()


def test_one_public_class_is_refused() -> None:
    config = resolve({"name": "privimage+m"})
    with pytest.raises(InputError, match="has 1 class"):
        config.member.check(config, Sizes(n_train=100, n_labels=3, n_public=1))
