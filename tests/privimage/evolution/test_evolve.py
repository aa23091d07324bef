"""What evolves: shares of votes, variations that get smaller, a generator that holds the winners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toys

from privimage.errors import InputError
from privimage.evolution.config import EvolveConfig
from privimage.evolution.evolve import Evolution, shares
from privimage.finite import Diverged
from privimage.generators import sizes
from privimage.generators.config import SampleConfig
from privimage.methods.method import load
from privimage.methods.resolve import resolve

CPU = torch.device("cpu")


def test_shares_are_what_lies_above_the_noise_and_even_where_nothing_does() -> None:
    noisy = np.array([[10.0, 4.0, -3.0, 2.0], [1.0, 0.0, -5.0, 2.0]])
    np.testing.assert_allclose(shares(noisy, least=2.0), [[0.8, 0.2, 0, 0], [0.25] * 4])


def evolution(**fields: object) -> Evolution:
    config = EvolveConfig.model_validate({"rounds": 4, "first": 12, "candidates": 6, "threshold": 1.0, **fields})
    return Evolution(
        generator=toys.tiny(), see=lambda x: x.reshape(len(x), -1)[:, ::9].astype(np.float32), config=config,
        sample=SampleConfig(steps=2, guidance=0.0, start="anchors"), sigma=2.0, seed=0, device=CPU,
        images=toys.pictures(12, 3, seed=4)[0][None],
    )  # fmt: skip


def test_the_first_candidates_serve_all_labels_and_each_label_has_its_own_after() -> None:
    one, other = evolution(), evolution()
    first = one.propose(0, None)
    assert first.shape[:2] == (1, 12) and one.images.shape == (1, 12, 1, toys.SIDE, toys.SIDE)
    votes = np.zeros((3, 12))
    votes[0, 3] = votes[1, 5] = votes[2, 7] = 50
    chosen = one.chosen(votes, n=6, number=1)
    for label, place in enumerate((3, 5, 7)):
        assert (chosen[label] == one.images[0, place]).all()
    second = one.propose(1, votes)
    assert second.shape[:2] == (3, 6) and len(np.unique(one.images[0].reshape(6, -1), axis=0)) > 1
    assert np.array_equal(other.propose(0, None), first) and np.array_equal(other.propose(1, votes), second)


def test_variations_get_smaller() -> None:
    x = toys.public_set().x[:20]
    generator, labels = toys.tiny(), torch.zeros(20, dtype=torch.int64)

    def moved(level: float) -> float:
        config = SampleConfig(steps=4, guidance=0.0, start_at=level, sigma_min=0.01)
        return float(
            np.abs(np.concatenate(list(generator.vary(x, labels, config=config, seed=0))) - x.astype(float)).mean()
        )

    assert moved(0.05) < moved(0.5) < moved(5.0)
    config = EvolveConfig(rounds=5, strong=3.0, weak=0.3)
    levels = [config.level(number) for number in range(4)]
    assert levels[0] == pytest.approx(3.0) and levels[-1] == pytest.approx(0.3) and levels == sorted(levels)[::-1]


def test_a_variation_is_of_its_own_image_in_every_batch() -> None:
    x, generator = toys.public_set().x[:9], toys.tiny()
    config = SampleConfig(steps=2, guidance=0.0, start_at=0.05, sigma_min=0.01, batch=4)
    made = np.concatenate(list(generator.vary(x, torch.arange(9) % 3, config=config, seed=0)))
    apart = np.square(made[:, None] - x[None].astype(float)).sum(axis=(2, 3, 4))
    same = np.square(x[:, None].astype(float) - x[None]).sum(axis=(2, 3, 4)) == 0
    assert all(same[i, apart[i].argmin()] for i in range(9))


def test_a_family_that_cannot_vary_is_refused_in_one_line() -> None:
    config = resolve({"name": "pe", "model": {"size": "implicit-128"}})
    with pytest.raises(InputError, match=r"cannot vary an image, as pe does; allowed: .*dct-mlp-512"):
        load("pe").check_shape(config, (1, 28, 28))
    implicit = sizes.build("implicit-128", shape=(1, 8, 8), n_classes=2, seed=0)
    with pytest.raises(InputError, match="cannot vary"):
        implicit.vary(np.zeros((1, 1, 8, 8), np.uint8), torch.zeros(1), config=SampleConfig(), seed=0)
    with pytest.raises(InputError, match="leave it at anchors"):
        load("pe").check_shape(resolve({"name": "pe", "sample": {"start": "noise"}}), (1, 28, 28))


def test_every_round_is_paid_and_the_generator_is_public(tmp_path: Path) -> None:
    small = {"name": "pe", "query": {"function": {"steps": 3, "batch": 8}}, "model": {"size": "dct-mlp-192"},
             "pretrain": {"images": 64, "batch": 16}, "samples": 30,
             "evolve": {"rounds": 3, "first": 20, "candidates": 6}}  # fmt: skip
    trial = toys.trial(method=small)
    made = {}
    for seed in (1, 7):
        _, stages = toys.ran(
            tmp_path / str(seed), trial, public=toys.public_set(), sensitive=toys.sensitive_set(train=seed)
        )
        ((event,),) = (charge.events for charge in stages.ledger.charges())
        assert (event.steps, event.q, event.purpose) == (3, 1.0, "votes")
        made[seed] = stages.store.get("public-generator", stages.artefacts["public-generator"])
    assert made[1].manifest.privacy == "public"
    assert all(np.array_equal(made[1].arrays[name], made[7].arrays[name]) for name in made[1].arrays)


def test_a_generator_that_draws_nothing_is_found_out_before_votes_are_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would be paid for, and every later call would fail again."""

    def same(generator: object, *, n: int, **_: object) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((n, 1, toys.SIDE, toys.SIDE), np.uint8), np.zeros(n, np.int64)

    monkeypatch.setattr("privimage.methods.evolution_pipeline.draw_images", same)
    small = {"name": "pe", "query": {"function": {"steps": 3, "batch": 8}}, "model": {"size": "dct-mlp-192"},
             "pretrain": {"images": 64, "batch": 16}, "samples": 30}  # fmt: skip
    stages = toys.stages_at(tmp_path)
    with pytest.raises(Diverged, match="all 1000 images are the same"):
        toys.ran(tmp_path, toys.trial(method=small), public=toys.public_set(), sensitive=toys.sensitive_set())
    assert not stages.ledger.charges()
