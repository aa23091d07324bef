"""The static step gives the sum of the ordinary one, whatever fills up its batches; physical ones lose no example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known import entropy
from small_networks import LOSS, Shape, draws_of, net, shapes, truth
from torch import Tensor

from privimage.data.sets import PrivateSet
from privimage.dpsgd import engine, layers
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.physical import filled, physical_batches, physical_size
from privimage.dpsgd.rules.rule import BatchPlan
from privimage.dpsgd.static import StaticSum
from privimage.generators.generator import Generator
from privimage.privacy.budget import Event
from privimage.workers import Workers

Patch = pytest.MonkeyPatch


def summed(F: torch.nn.Module, parts: list[Batch], *, C: float, size: int) -> dict[str, Tensor]:
    """The clipped sum of several batches by the static step."""
    for p in F.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    add = StaticSum(F, loss=LOSS, C=C, size=size)
    for part in parts:
        add(part)
    return {name: p.grad.double() for name, p in F.named_parameters() if p.grad is not None}


@given(shapes, st.sampled_from([1, 3]), st.integers(1, 6), st.integers(0, 1000), st.sampled_from([0.3, 1e6]))
@settings(max_examples=40, deadline=None)
def test_the_sum_is_that_of_the_loop(shape: Shape, K: int, n: int, seed: int, share: float) -> None:
    F, draws = net(shape, seed), draws_of(n, K, seed)
    C, _, expected = truth(F, draws, share)
    got = summed(F, draws.split(4), C=C, size=4)
    largest = max(float(g.abs().max()) for g in expected.values())
    assert got.keys() == expected.keys()
    for name, g in expected.items():
        assert float((got[name] - g).abs().max()) <= 1e-4 * largest, name


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_what_is_not_finite_and_what_fills_up_adds_exactly_nothing(bad: float, kept: bool, monkeypatch: Patch) -> None:
    """The sum of a batch with a wild example is that without it, bit for bit, if the rest lies at the same places."""
    monkeypatch.setattr(BatchPlan, "keeps", lambda self, bytes_, *, instead_of: kept)
    F, draws = net(Shape(twice=True)), draws_of(5, 2)
    z, (noise, sigma, label) = draws.each[0].clone(), draws.drawn
    z[4] = bad
    wild = Batch(each=(z,), drawn=(noise, sigma, label), K=2)
    alone = draws.of(tuple(t[:4] for t in (*draws.each, *draws.drawn)))
    got, expected = (summed(F, [batch], C=1.0, size=6) for batch in (wild, alone))
    assert all(g.isfinite().all() for g in got.values())
    for name, g in expected.items():
        torch.testing.assert_close(got[name], g, rtol=0, atol=0)


def test_an_example_that_fills_up_and_counts_is_seen(monkeypatch: Patch) -> None:
    """The test above can fail: with examples that fill up and count, the sum is another."""
    F, draws = net(Shape()), draws_of(3, 2)
    expected = summed(F, [draws], C=1.0, size=5)
    monkeypatch.setattr(
        "privimage.dpsgd.static.filled", lambda batch, size: (filled(batch, size)[0], torch.ones(5) > 0)
    )
    got = summed(F, [draws], C=1.0, size=5)
    assert any(float((got[name] - g).abs().max()) > 1e-3 for name, g in expected.items())


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(1, 12))
def test_physical_batches_have_every_example_once_in_order(blocks: list[int], size: int) -> None:
    places = torch.arange(sum(blocks))
    given_ = [Batch(each=(part,)) for part in places.split(blocks)] if blocks else []
    parts = [batch.each[0] for batch in physical_batches(given_, size)]
    assert torch.equal(torch.cat([*parts, places[:0]]), places)
    assert all(len(part) == size for part in parts[:-1]) and all(0 < len(part) <= size for part in parts)


def test_no_more_blocks_are_drawn_than_a_batch_needs() -> None:
    drawn: list[int] = []

    def blocks() -> Any:
        for number in range(6):
            drawn.append(number)
            yield Batch(each=(torch.arange(4),))

    next(physical_batches(blocks(), 6))
    assert drawn == [0, 1]


@given(st.floats(0.5, 1e5), st.integers(1, 2048))
def test_a_physical_batch_fits(expected: float, most: int) -> None:
    size = physical_size(expected=expected, most=most)
    assert 1 <= size <= most
    usual = expected + 3 * expected**0.5
    assert -(-usual // size) == -(-usual // most), "no more of them than there have to be"


def test_a_whole_fine_tuning_by_static_steps_is_the_same(
    tiny: Callable[..., Generator], sensitive: PrivateSet, monkeypatch: Patch
) -> None:
    event = Event(purpose="dp-sgd", split="train", sigma=1.5, q=0.5, steps=3)
    config = FinetuneConfig(optimizer="adam", lr=0.01, C=0.1, K=2, physical_batch=7)
    runs = []
    for one_size in (False, True):
        if one_size:
            monkeypatch.setattr("privimage.dpsgd.sums.adder", the_static_one)
        release = fine_tune(tiny(), sensitive, config=config, event=event, entropy=entropy(3), workers=Workers.alone())
        runs.append(torch.cat([tensor.flatten().double() for tensor in release.value.state.values()]))
    start = torch.cat([tensor.flatten().double() for tensor in tiny().F.state_dict().values()])
    assert (runs[0] - runs[1]).norm() < 1e-3 * (runs[0] - start).norm()


def the_static_one(F: torch.nn.Module, *, loss: Any, C: float, size: int, **rest: Any) -> StaticSum:
    return StaticSum(F, loss=loss, C=C, size=size)


def test_a_gpu_gets_the_static_step_and_a_cpu_the_ordinary_one() -> None:
    F, config = net(Shape()), FinetuneConfig()
    for device, graphs in (("cuda", False), ("cuda", True), ("cpu", False)):
        workers = Workers(rank=0, size=1, device=torch.device(device), graphs=graphs)
        add = engine.adder(F, config=config, loss=LOSS, C=1.0, size=8, workers=workers)
        assert isinstance(add, StaticSum) == (device == "cuda")
        if isinstance(add, StaticSum):
            assert add._recorded == graphs
        else:
            assert add.func is layers.add_clipped_sum  # type: ignore[attr-defined]
