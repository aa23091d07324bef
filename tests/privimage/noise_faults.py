"""Faults of noise and of where it comes from, to be planted: each must be seen by tests/privacy/test_noise_keys.py.

Some also by a check of the rules (test_privacy_rules.py).
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from numpy.typing import NDArray

from privimage import semantics, shared_answer
from privimage.dpsgd.noise import StepNoise
from privimage.methods import pipeline
from privimage.metrics import dp_score
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy, Stream

Patch = pytest.MonkeyPatch
Array = NDArray[Any]


def a_score_without_noise(patch: Patch) -> None:
    real = Event.perturb

    def perturb(self: Event, value: Array, *, sensitivity: float, stream: Stream) -> Array:
        return (
            value.astype(float)
            if self.purpose == "score"
            else real(self, value, sensitivity=sensitivity, stream=stream)
        )

    patch.setattr(Event, "perturb", perturb)


def _public_key(patch: Patch, module: Any, name: str) -> None:
    real = getattr(module, name)
    seed = Entropy(hashlib.sha256(b"the name of a trial, which is public").digest())
    patch.setattr(module, name, lambda *args, **rest: real(*args, **rest | {"entropy": seed}))


def a_score_by_a_public_seed(patch: Patch) -> None:
    _public_key(patch, dp_score, "dp_accuracy")


def a_derived_answer_by_a_public_seed(patch: Patch) -> None:
    _public_key(patch, shared_answer, "noisier")


def a_query_by_a_public_seed(patch: Patch) -> None:
    _public_key(patch, semantics, "ask")


def training_by_a_public_seed(patch: Patch) -> None:
    _public_key(patch, pipeline, "fine_tune")


def a_derived_answer_without_noise(patch: Patch) -> None:
    patch.setattr(shared_answer, "noisier", lambda histogram, **rest: histogram + 0.0)


def the_entropy_of_the_query_for_the_derived_answer(patch: Patch) -> None:
    kept: list[Entropy] = []
    ask, noisier = semantics.ask, shared_answer.noisier

    def keep(*args: Any, entropy: Entropy, **rest: Any) -> Any:
        kept.append(entropy)
        return ask(*args, entropy=entropy, **rest)

    patch.setattr(semantics, "ask", keep)
    patch.setattr(shared_answer, "noisier", lambda *args, **rest: noisier(*args, **rest | {"entropy": kept[-1]}))


def the_entropy_is_a_public_constant(patch: Patch) -> None:
    patch.setattr(Entropy, "fresh", staticmethod(lambda: Entropy(bytes(32))))


def noise_of_half_the_std(patch: Patch) -> None:
    real = Event.perturb
    patch.setattr(
        Event,
        "perturb",
        lambda self, value, *, sensitivity, stream: real(self, value, sensitivity=sensitivity / 2, stream=stream),
    )


def one_noise_for_all_answers(patch: Patch) -> None:
    real = Entropy.stream
    patch.setattr(Entropy, "stream", lambda self, name: real(Entropy(bytes(32)), name))


def the_same_noise_in_every_step(patch: Patch) -> None:
    real = StepNoise.begin
    patch.setattr(StepNoise, "begin", lambda self, step: real(self, 0))


def the_same_noise_in_every_trial(patch: Patch) -> None:
    real = StepNoise.__init__

    def fixed(self: StepNoise, entropy: Entropy, **rest: Any) -> None:
        real(self, Entropy(bytes(32)), **rest)

    patch.setattr(StepNoise, "__init__", fixed)


def one_stream_for_all_purposes(patch: Patch) -> None:
    real = Entropy.stream
    patch.setattr(Entropy, "stream", lambda self, name: real(self, "x"))


def means_from_the_stream_of_the_query(patch: Patch) -> None:
    real = Entropy.stream
    patch.setattr(Entropy, "stream", lambda self, name: real(self, "histogram" if name == "means" else name))


def means_without_noise(patch: Patch) -> None:
    real = Event.perturb
    patch.setattr(Event, "perturb", lambda self, value, **rest: (
        value.astype(float) if self.purpose == "means" else real(self, value, **rest)
    ))  # fmt: skip


def a_quarter_of_the_noise_in_training(patch: Patch) -> None:
    real = StepNoise.take
    patch.setattr(StepNoise, "take", lambda self: real(self) / 4)
