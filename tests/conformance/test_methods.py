"""Every method asks what it declares: that is what is drawn and what is charged.

Real runs on toy images, in which every noise is counted as it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from method_runs import ALL, BUDGET, PUBLIC, SENSITIVE, VALUES, configured, see_little
from quick import these

from privimage import histogram, shared_answer
from privimage.dpsgd.noise import StreamNoiseOptimizer
from privimage.matching import sanitized
from privimage.means import answer
from privimage.methods import kernel_pipeline, pipeline
from privimage.methods.declared import fields_of
from privimage.methods.method import load
from privimage.privacy.budget import Event
from privimage.privacy.entropy import BYTES, Entropy, Stream
from privimage.privacy.ledger import Ledger
from privimage.record import Record
from privimage.run_trial import run as execute
from privimage.schema import parse
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.trial import Trial
from privimage.workers import Workers


@pytest.fixture(autouse=True)
def little_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    see_little(monkeypatch)


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """(noise multiplier, how often) of all noise that is drawn, in order; answers that are derived left out.

    Noise that is drawn from a stream past the event has none: it counts as one of multiplier -1.
    """
    found: list[tuple[float, int]] = []
    inside: list[str] = []
    normals, derive = Stream.normals, shared_answer.noisier
    perturb, begin, init = Event.perturb, StreamNoiseOptimizer.step, StreamNoiseOptimizer.__init__

    def perturbed(self: Event, value: Any, **rest: Any) -> Any:
        found.append((self.sigma, 1))
        return within("perturb", perturb, self, value, **rest)

    def within(what: str, draw: Callable[..., Any], *rest: Any, **named: Any) -> Any:
        inside.append(what)
        try:
            return draw(*rest, **named)
        finally:
            inside.pop()

    def drawn(self: Stream, *shape: int) -> Any:
        found.extend([] if inside else [(-1.0, 1)])
        return normals(self, *shape)

    def made(self: Any, *rest: Any, **named: Any) -> None:
        found.append((named["noise_multiplier"], 0))
        init(self, *rest, **named)

    def stepped(self: Any, *rest: Any, **named: Any) -> Any:
        found[-1] = (found[-1][0], found[-1][1] + 1)
        return begin(self, *rest, **named)

    monkeypatch.setattr(Event, "perturb", perturbed)
    monkeypatch.setattr(Stream, "normals", drawn)
    monkeypatch.setattr(shared_answer, "noisier", lambda *rest, **named: within("noisier", derive, *rest, **named))
    monkeypatch.setattr(StreamNoiseOptimizer, "__init__", made)
    monkeypatch.setattr(StreamNoiseOptimizer, "step", stepped)
    return found


def ran(name: str, root: Path) -> tuple[Trial, Record, Stages]:
    values = {"data": {"sensitive": {"name": "digits", "id": "toy-v1"}, "public": {"name": "glyphs"}},
              "budget": BUDGET, "method": configured(name), "metrics": ["accuracy[lr]"]}  # fmt: skip
    alone = parse(Trial, values)
    trial = alone.asking(dict.fromkeys(alone.questions, 6.0))
    store = FileStore(root / "store")
    stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(root / "ledger.jsonl"))
    role: Any = "search" if load(name).private else "compare"
    return trial, execute(trial, public=PUBLIC, sensitive=SENSITIVE, stages=stages, sweep="toy", role=role), stages


def one_by_one(draws: list[tuple[float, int]]) -> list[float]:
    """The noise multiplier of each draw: those of a training are told together, those of rounds one after another."""
    return [sigma for sigma, times in draws for _ in range(times)]


def asks_what_it_declares(name: str, root: Path, draws: list[tuple[float, int]]) -> None:
    """Declared accesses, noise drawn, lines of the ledger and the record are the same; and the budget is met."""
    trial, record, stages = ran(name, root)
    method, fields = load(name), fields_of(trial.method)
    asked = {kind: event.model_copy(update={"sigma": 6.0}) if event.shared else event
             for kind, event in trial.asked.items()}  # fmt: skip
    assert [(event.purpose, event.q, event.steps, event.split) for event in record.events] == [
        (access.purpose, access.q, access.steps, access.split)
        for access in (ask.access(fields) for _, ask in method.declaration.asking)
    ]
    charged = [event for charge in stages.ledger.charges() for event in charge.events]
    assert charged == [event for event in asked.values() if event.private]
    assert [look.split for look in stages.ledger.looks() if look.what.startswith("row ")] == [
        event.split for event in asked.values() if not event.private
    ]
    declared = [(event.sigma, event.steps) for event in asked.values() if event.private or method.generates]
    assert one_by_one(draws) == one_by_one(declared)
    assert (record.epsilon_alone is not None) == method.private
    if record.epsilon_alone is not None:
        assert BUDGET.epsilon - 2e-3 * method.solved <= record.epsilon_alone + BUDGET.epsilon * (not method.solved)
        assert record.epsilon_alone <= BUDGET.epsilon


@pytest.mark.parametrize("name", these(("privimage+d", "privimage+m", "pe", "dpgan", "real"), ALL))
def test_what_is_declared_is_drawn_and_charged(name: str, tmp_path: Path, draws: list[tuple[float, int]]) -> None:
    asks_what_it_declares(name, tmp_path, draws)


# ---- planted faults


def test_an_access_that_is_not_declared_is_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = histogram.noisy_histogram

    def twice(public: Any, sensitive: Any, **rest: Any) -> Any:
        Event(purpose="peek", sigma=9, split="train").perturb(np.zeros(3), sensitivity=1.0, stream=Entropy(
            bytes(BYTES)).stream("peek"))  # fmt: skip
        return real(public, sensitive, **rest)

    monkeypatch.setattr("privimage.methods.pipeline.noisy_histogram", twice)
    with pytest.raises(AssertionError):
        asks_what_it_declares("privimage+d", tmp_path, draws)
    assert (9.0, 1) in draws and (6.0, 1) in draws, "both were drawn"


def test_noise_past_an_event_is_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that adds noise of its own, and declares none of it."""
    real, means = pipeline.fine_tune, []

    def noisy(generator: Any, sensitive: Any, *, entropy: Entropy, **rest: Any) -> Any:
        mean = sensitive.rows(np.arange(3)).mean(axis=0)
        means.append(mean + entropy.stream("mean").normals(*mean.shape))
        return real(generator, sensitive, entropy=entropy, **rest)

    monkeypatch.setattr(pipeline, "fine_tune", noisy)
    with pytest.raises(AssertionError):
        asks_what_it_declares("dpdm", tmp_path, draws)
    assert means and draws[0] == (-1.0, 1) and [steps for _, steps in draws[1:]] == [VALUES["finetune"]["steps"]]


def test_half_of_the_declared_steps_is_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.fine_tune
    monkeypatch.setattr(pipeline, "fine_tune", lambda *args, event, **rest: real(
        *args, event=event.model_copy(update={"steps": 1}), **rest))  # fmt: skip
    with pytest.raises(AssertionError):
        asks_what_it_declares("dpdm", tmp_path, draws)
    assert [steps for _, steps in draws] == [1]


def test_fewer_steps_than_declared_are_seen_of_a_training_that_is_no_dp_sgd(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel_pipeline.train
    monkeypatch.setattr(kernel_pipeline, "train", lambda *args, event, **rest: real(
        *args, event=event.model_copy(update={"steps": 1}), **rest))  # fmt: skip
    with pytest.raises(AssertionError):
        asks_what_it_declares("dp-kernel", tmp_path, draws)
    assert [steps for _, steps in draws] == [1]


def test_gradients_that_are_asked_for_again_are_seen(
    tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise that is averaged away: two answers a step, and one declared."""
    real = sanitized.asked

    def twice(total: Any, **rest: Any) -> Any:
        real(total, **rest)
        return real(total, **rest)

    monkeypatch.setattr(sanitized, "asked", twice)
    with pytest.raises(AssertionError):
        asks_what_it_declares("gs-wgan", tmp_path, draws)
    assert len(draws) == 2 * VALUES["sanitized"]["steps"]


@pytest.mark.parametrize("name", ["dp-ntk", "pearl", "dp-feta"])
def test_an_answer_that_is_looked_at_again_is_seen(
    name: str, tmp_path: Path, draws: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means that are asked twice, and charged once."""
    real = answer.ask

    def twice(*args: Any, **rest: Any) -> Any:
        real(*args, **rest)
        return real(*args, **rest)

    monkeypatch.setattr(answer, "ask", twice)
    with pytest.raises(AssertionError):
        asks_what_it_declares(name, tmp_path, draws)
    assert [sigma for sigma, _ in draws[:2]] == [6.0, 6.0]
