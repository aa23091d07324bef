"""The noise of DP-SGD: the stream's, made in a thread, once a step, added in float64 by Opacus's optimizer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from known import entropy
from torch import nn

from privimage.data.sets import PrivateSet
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer
from privimage.dpsgd.normals import Tensors
from privimage.dpsgd.sums import ClippedSums
from privimage.errors import Violation
from privimage.generators.generator import Generator
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Seen
from privimage.workers import Workers

CPU = torch.device("cpu")


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape)) for shape in ((3, 5), (7,), (1, 2, 2))]


def optimizer(parameters: list[nn.Parameter], take: Any, *, sigma: float = 2.0) -> StreamNoiseOptimizer:
    sgd = torch.optim.SGD(parameters, lr=1.0)
    return StreamNoiseOptimizer(sgd, noise_multiplier=sigma, max_grad_norm=0.5, expected_batch_size=4, take=take)


def test_a_step_moves_by_the_sum_and_the_noise_of_the_stream_over_the_expected_batch() -> None:
    parameters, total = weights(), torch.arange(26).float()
    with StepNoise(entropy(1), count=26, device=CPU) as noise:
        stepper = optimizer(parameters, noise.take)
        for step in (0, 7):
            noise.begin(step)
            for p, part in zip(parameters, total.split([15, 7, 4]), strict=True):
                p.data.zero_()
                p.grad = part.view_as(p).clone()
            stepper.step()
            moved = torch.cat([p.detach().flatten() for p in parameters])
            normals = Tensors(entropy(1).stream(f"noise/{step}")).normals(26)
            expected = -(total.double() + normals * (2.0 * 0.5)).float() / 4
            assert torch.equal(moved, expected), "added in float64 and rounded once"
            stepper.zero_grad(set_to_none=True)


def test_noise_is_for_one_sum() -> None:
    with StepNoise(entropy(1), count=3, device=CPU) as noise:
        with pytest.raises(Violation, match="one sum only"):
            noise.take()  # of a step that was not begun
        noise.begin(0)
        first = noise.take()
        with pytest.raises(Violation, match="one sum only"):
            noise.take()
        noise.begin(1)
        assert not set(first.tolist()) & set(noise.take().tolist())


def test_a_step_without_noise_of_its_own_is_an_error(
    tiny: Callable[..., Generator], sensitive: PrivateSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = StepNoise.begin
    monkeypatch.setattr(StepNoise, "begin", lambda self, step: begin(self, step) if step == 0 else None)
    event = Event(purpose="dp-sgd", split="train", sigma=1.0, q=0.5, steps=2)
    with pytest.raises(Violation, match="one sum only"):
        fine_tune(tiny(), sensitive, config=FinetuneConfig(), event=event, entropy=entropy(1), workers=Workers.alone())


@pytest.mark.parametrize(("sigma", "given"), [(1.0, False), (0.0, True)])
def test_noise_is_drawn_exactly_where_it_is_declared(sigma: float, given: bool) -> None:
    take = (lambda: torch.zeros(26, dtype=torch.float64)) if given else None
    with pytest.raises(Violation, match="where the event declares it"):
        optimizer(weights(), take, sigma=sigma)


def test_without_noise_the_sum_is_left_as_it_is() -> None:
    parameters = weights()
    stepper = optimizer(parameters, None, sigma=0.0)
    for p in parameters:
        p.grad = torch.full_like(p, 3.0)
    stepper.step()
    assert all(torch.equal(p, torch.full_like(p, -0.75)) for p in parameters)


def test_the_thread_ends_with_the_stage_and_its_errors_are_those_of_the_step(
    tiny: Callable[..., Generator], sensitive: PrivateSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    fixed: dict[str, Any] = {"config": FinetuneConfig(K=1), "entropy": entropy(1), "workers": Workers.alone()}
    event = Event(purpose="dp-sgd", split="train", sigma=1.0, q=0.5, steps=1)
    fine_tune(tiny(), sensitive, event=event, **fixed)
    assert threading.active_count() == before

    def broken(self: StepNoise, step: int) -> torch.Tensor:
        raise MemoryError("no room for the noise")

    with monkeypatch.context() as patch:
        patch.setattr(StepNoise, "_make", broken)
        with pytest.raises(MemoryError, match="no room"):
            fine_tune(tiny(), sensitive, event=event, **fixed)

    def killed(*args: Any, **rest: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClippedSums, "leave", killed)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(tiny(), sensitive, event=event, **fixed)
    assert threading.active_count() == before


def test_a_run_without_noise_begins_none(
    tiny: Callable[..., Generator], sensitive: PrivateSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepNoise, "__init__", lambda *args, **rest: pytest.fail("noise was made"))
    event, workers = Event(purpose="training", split="train", sigma=0, q=0.5, steps=1), Workers.alone()
    fixed: dict[str, Any] = {"config": FinetuneConfig(), "event": event, "entropy": entropy(1), "workers": workers}
    fine_tune(tiny(), sensitive, seen=Seen(split="train"), **fixed)
    with pytest.raises(Violation, match="no line of the ledger says so"):
        fine_tune(tiny(), sensitive, **fixed)  # the look is what allows it


def test_the_words_of_a_step_are_those_of_its_name() -> None:
    seen: list[str] = []
    real = Entropy.stream
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Entropy, "stream", lambda self, name: (seen.append(name), real(self, name))[1])
        with StepNoise(entropy(1), count=3, device=CPU) as noise:
            for step in (0, 1, 10):
                noise.begin(step)
                noise.take()
    assert seen == ["noise/0", "noise/1", "noise/10"]
