"""Planted faults that the checks of the privacy rules must see: a check that cannot fail guards nothing.

`FAULTS` breaks the code on purpose, one way at a time, and `test_the_check_sees_the_fault` expects the check of that
rule (`privacy_rules`) to fail.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import privacy_rules as checks
import pytest
import torch
from known import entropy
from noise_faults import noise_of_half_the_std, the_same_noise_in_every_step
from numpy.typing import NDArray
from privacy_rules import RULES, World, forget_epsilons
from torch import Tensor

from privimage import record as records
from privimage import shared_answer
from privimage.data.sets import PrivateSet
from privimage.dpsgd import engine, finetune, layers, rules
from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer
from privimage.dpsgd.sums import ClippedSums
from privimage.errors import LostAnswer, Unpaid
from privimage.generators.generator import Generator
from privimage.metrics.metric import Metric
from privimage.privacy import accounting, chain, file_chain
from privimage.privacy.accounting import pld, total
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy, Stream
from privimage.privacy.ledger import Ledger
from privimage.semantics import QueryFunction
from privimage.stages import Stages
from privimage.stores.file import FileStore


@pytest.fixture
def world(
    sensitive: PrivateSet, query_function: QueryFunction, tiny: Callable[..., Generator], tmp_path: Path
) -> World:
    return World(sensitive=sensitive, function=query_function, tiny=tiny, folder=tmp_path)


@pytest.mark.parametrize("name", RULES)
def test_the_rule_holds(name: str, world: World) -> None:
    RULES[name](world)


Patch = pytest.MonkeyPatch
Array = NDArray[Any]


def sqrt_k1_dropped(patch: Patch) -> None:
    real = Event.perturb
    patch.setattr(
        Event,
        "perturb",
        lambda self, value, *, sensitivity, stream: real(self, value, sensitivity=1.0, stream=stream),
    )


def uniform_noise(patch: Patch) -> None:
    def perturb(self: Event, value: Array, *, sensitivity: float, stream: Stream) -> Array:
        uniform = stream.uniforms(*value.shape) - 0.5
        return value + uniform * 12**0.5 * sensitivity * self.sigma

    patch.setattr(Event, "perturb", perturb)


def the_same_noise_in_every_row(patch: Patch) -> None:
    def perturb(self: Event, value: Array, *, sensitivity: float, stream: Stream) -> Array:
        return value + stream.normals(*value.shape[1:]) * sensitivity * self.sigma

    patch.setattr(Event, "perturb", perturb)


def an_image_votes_k1_times_for_one_class(patch: Patch) -> None:
    real = QueryFunction._top
    patch.setattr(QueryFunction, "_top", lambda self, x, k1: real(self, x, 1).expand(-1, k1))


def shuffled_fixed_batches(patch: Patch) -> None:
    def batches(*, n: int, q: float, steps: int, stream: Stream) -> Any:
        for _ in range(steps):
            yield torch.from_numpy(np.sort(np.argsort(stream.words(n))[: round(q * n)]))

    patch.setattr(finetune, "poisson_batches", batches)


def the_divisor_is_the_realised_batch(patch: Patch) -> None:
    real = ClippedSums.leave

    def rescaled(sums: ClippedSums, batch: Tensor, *, step: int) -> None:
        real(sums, batch, step=step)
        for p in sums._parameters:
            p.grad *= 16 / max(1, len(batch))

    patch.setattr(ClippedSums, "leave", rescaled)


def empty_batches_are_skipped(patch: Patch) -> None:
    real = finetune.poisson_batches
    patch.setattr(finetune, "poisson_batches", lambda **rest: (batch for batch in real(**rest) if len(batch)))


def each_draw_is_clipped(patch: Patch) -> None:
    def wrapped(real: Any) -> Any:
        def add(F: Any, draws: Batch, *, loss: Loss, C: float) -> Tensor:
            (z, *drawn), K = draws.flat(), draws.K
            single = Batch(each=(z,), drawn=tuple(t[:, None] for t in drawn))
            return real(F, single, loss=loss, C=C / K).view(-1, K).sum(1)

        return add

    for name, real in engine.ENGINES.items():
        patch.setitem(engine.ENGINES, name, wrapped(real))


def each_layer_is_clipped(patch: Patch) -> None:
    def add(F: Any, draws: Batch, *, loss: Loss, C: float) -> Tensor:
        frozen = {p: p.requires_grad for p in F.parameters()}
        norms = []
        for p in frozen:
            for other in frozen:
                other.requires_grad_(other is p)
            norms.append(loop_of(F, draws, loss=loss, C=C))
        for p, was in frozen.items():
            p.requires_grad_(was)
        return torch.stack(norms).square().sum(0).sqrt()

    loop_of = engine.ENGINES["loop"]
    patch.setitem(engine.ENGINES, "layers", add)


def norms_are_under_estimated(patch: Patch) -> None:
    real = rules.linear.gram_total
    patch.setattr(rules.linear, "gram_total", lambda x, g: 0.8 * real(x, g))


def draws_are_taken_as_orthogonal(patch: Patch) -> None:
    patch.setattr(rules.linear, "gram_total", lambda x, g: (x.square().sum(2) * g.square().sum(2)).sum(1).double())


def an_unsupported_layer_is_ignored(patch: Patch) -> None:
    known = {torch.nn.Linear: rules.RULES[torch.nn.Linear]}
    patch.setattr(layers, "_rules", lambda F: {m: known[type(m)] for m in F.modules() if type(m) in known})
    patch.setattr(layers, "verify", lambda *args, **rest: None)


def draws_by_a_public_seed(patch: Patch) -> None:
    real = Entropy.stream
    patch.setattr(Entropy, "stream", lambda self, name: real(entropy(7) if name.startswith("draws") else self, name))


def half_the_noise_in_training(patch: Patch) -> None:
    real = StreamNoiseOptimizer.__init__

    def halved(self: Any, *args: Any, noise_multiplier: float, **rest: Any) -> None:
        real(self, *args, noise_multiplier=noise_multiplier / 2, **rest)

    patch.setattr(StreamNoiseOptimizer, "__init__", halved)


def noise_of_a_world_of_two(patch: Patch) -> None:
    """As if each of two workers added its own noise of the full std."""
    real = StepNoise.take

    def both(self: StepNoise) -> Tensor:
        other = self._make(10**6)
        return real(self) + other

    patch.setattr(StepNoise, "take", both)


def the_same_noise_in_two_trials(patch: Patch) -> None:
    patch.setattr(secrets, "token_bytes", lambda count: bytes(range(count)))


def noise_from_a_32_bit_seed(patch: Patch) -> None:
    real = Entropy.stream
    patch.setattr(Entropy, "stream", lambda self, name: real(Entropy(bytes(28) + self.raw[-4:]), name))


def a_global_seed(patch: Patch) -> None:
    real = finetune._optimizer

    def seeded(*args: Any, **rest: Any) -> Any:
        torch.manual_seed(0)
        return real(*args, **rest)

    patch.setattr(finetune, "_optimizer", seeded)


def anybody_reads_the_entropy(patch: Patch) -> None:
    real = os.link

    def linked(draft: str, path: Any) -> None:
        os.chmod(draft, 0o644)
        real(draft, path)

    patch.setattr(os, "link", linked)


def the_entropy_is_kept(patch: Patch) -> None:
    patch.setattr(FileStore, "forget", lambda self, name: None)


def the_query_is_not_in_the_calibration(patch: Patch) -> None:
    real = total._merged
    patch.setattr(total, "_merged", lambda costs: real([e for e in costs if e.purpose != "query"]))


def the_target_is_missed_upwards(patch: Patch) -> None:
    real = total._epsilon
    patch.setattr(total, "_epsilon", lambda costs, split, delta: max(0.0, real(costs, split, delta) - 0.05))


def an_optimistic_accountant(patch: Patch) -> None:
    real = total._epsilon
    patch.setattr(total, "_epsilon", lambda costs, split, delta: 0.9 * real(costs, split, delta))


def half_the_steps_are_counted(patch: Patch) -> None:
    real = pld._part_of_event
    patch.setattr(pld, "_part_of_event", lambda e: real(e.model_copy(update={"steps": max(1, e.steps // 2)})))


def the_query_is_asked_again_on_a_miss(patch: Patch) -> None:
    real = Ledger.charge
    patch.setattr(Ledger, "charged", lambda self, id: False)
    patch.setattr(Ledger, "charge", lambda self, **values: real(self, **{**values, "noise": None}))  # or it refuses too


def charged_after_the_build(patch: Patch) -> None:
    real = Stages.private

    def late(self: Stages, kind: str, inputs: Any, *, what: str, events: Any, build: Any) -> Any:
        charge, wanted = self.ledger.charge, []
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self.ledger, "charge", lambda **values: wanted.append(values))
            artefact = real(self, kind, inputs, what=what, events=events, build=build)
        for values in wanted:
            charge(**values)
        return artefact

    patch.setattr(Stages, "private", late)


def new_noise_after_a_crash(patch: Patch) -> None:
    real = FileStore.entropy
    patch.setattr(FileStore, "entropy", lambda self, name: (self.forget(name), real(self, name))[1])


def charged_again_after_a_crash(patch: Patch) -> None:
    real = Ledger.charge
    patch.setattr(Ledger, "charge", lambda self, *, id, **rest: real(self, id=id + secrets.token_hex(2), **rest))


def the_difference_of_the_stds_is_added(patch: Patch) -> None:
    real = shared_answer.noisier

    def wrong(answer: Any, *, sensitivity: float, asked: float, wanted: float, entropy: Entropy) -> Any:
        return real(answer, sensitivity=sensitivity, asked=0.0, wanted=wanted - asked, entropy=entropy)

    patch.setattr(shared_answer, "noisier", wrong)


def derived_noise_without_sqrt_k1(patch: Patch) -> None:
    real = shared_answer.noisier
    patch.setattr(shared_answer, "noisier", lambda answer, *, sensitivity, **rest: real(answer, sensitivity=1, **rest))


def only_the_best_trial_is_counted(patch: Patch) -> None:
    real = records.composition
    patch.setattr(records, "composition", lambda trials, *, delta: max(real([t], delta=delta) for t in trials))


def a_shared_query_is_counted_per_trial(patch: Patch) -> None:
    patch.setattr(
        records,
        "composition",
        lambda trials, *, delta: accounting.epsilon([e for t in trials for p in t.paid for e in p.events], delta),
    )


def the_chain_is_not_checked(patch: Patch) -> None:
    patch.setattr(chain, "_follows", lambda line, number, previous: True)


def charges_are_not_synced(patch: Patch) -> None:
    def write(path: Path, raw: bytes, *, at: int) -> None:
        path.write_bytes((path.read_bytes()[:at] if path.exists() else b"") + raw)

    patch.setattr(file_chain, "_write", write)
    patch.setattr(file_chain, "sync", lambda path: None)


def a_private_metric_passes_for_a_free_one(patch: Patch) -> None:
    patch.setattr(Metric, "non_private", property(lambda self: False))


def a_private_set_shows_its_content(patch: Patch) -> None:
    patch.setattr(PrivateSet, "__repr__", lambda self: f"PrivateSet(x={self.x!r}, y={self.y!r})")


FAULTS: list[tuple[Callable[[Patch], None], Callable[[World], None]]] = [
    (noise_of_half_the_std, checks.rule_1_one_gaussian_over_the_whole_histogram),
    (sqrt_k1_dropped, checks.rule_1_one_gaussian_over_the_whole_histogram),
    (uniform_noise, checks.rule_1_one_gaussian_over_the_whole_histogram),
    (the_same_noise_in_every_row, checks.rule_1_one_gaussian_over_the_whole_histogram),
    (an_image_votes_k1_times_for_one_class, checks.rule_1_one_gaussian_over_the_whole_histogram),
    (shuffled_fixed_batches, checks.rule_2_batches_are_poisson),
    (the_divisor_is_the_realised_batch, checks.rule_2_the_divisor_is_the_expected_batch),
    (empty_batches_are_skipped, checks.rule_2_an_empty_batch_takes_its_noise_step),
    (each_draw_is_clipped, checks.rule_3_an_example_is_clipped_once_over_all_parameters),
    (each_layer_is_clipped, checks.rule_3_an_example_is_clipped_once_over_all_parameters),
    (norms_are_under_estimated, checks.rule_3_an_example_is_clipped_once_over_all_parameters),
    (draws_are_taken_as_orthogonal, checks.rule_3_an_example_is_clipped_once_over_all_parameters),
    (an_unsupported_layer_is_ignored, checks.rule_3_a_parameter_without_a_contribution_is_an_error),
    (draws_by_a_public_seed, checks.rule_3_nobody_can_know_which_draws_an_example_has),
    (half_the_noise_in_training, checks.rule_4_noise_is_sigma_C_once_a_step),
    (noise_of_a_world_of_two, checks.rule_4_noise_is_sigma_C_once_a_step),
    (the_same_noise_in_every_step, checks.rule_4_noise_is_sigma_C_once_a_step),
    (the_same_noise_in_two_trials, checks.rule_4_trials_have_noise_of_their_own_and_nothing_is_seeded_globally),
    (noise_from_a_32_bit_seed, checks.rule_4_trials_have_noise_of_their_own_and_nothing_is_seeded_globally),
    (a_global_seed, checks.rule_4_trials_have_noise_of_their_own_and_nothing_is_seeded_globally),
    (anybody_reads_the_entropy, checks.rule_4_the_state_of_the_noise_is_internal_and_forgotten),
    (the_entropy_is_kept, checks.rule_4_the_state_of_the_noise_is_internal_and_forgotten),
    (the_query_is_not_in_the_calibration, checks.rule_5_calibration_is_joint_and_never_above_the_target),
    (the_target_is_missed_upwards, checks.rule_5_calibration_is_joint_and_never_above_the_target),
    (an_optimistic_accountant, checks.rule_5_calibration_is_joint_and_never_above_the_target),
    (half_the_steps_are_counted, checks.rule_5_calibration_is_joint_and_never_above_the_target),
    (the_query_is_asked_again_on_a_miss, checks.rule_6_the_query_is_never_asked_twice),
    (charged_after_the_build, checks.rule_6_the_query_is_never_asked_twice),
    (charged_after_the_build, checks.rule_6_a_killed_query_is_finished_with_the_same_noise),
    (new_noise_after_a_crash, checks.rule_6_a_killed_query_is_finished_with_the_same_noise),
    (charged_again_after_a_crash, checks.rule_6_a_killed_query_is_finished_with_the_same_noise),
    (the_difference_of_the_stds_is_added, checks.rule_6_a_derived_answer_has_the_wanted_noise),
    (derived_noise_without_sqrt_k1, checks.rule_6_a_derived_answer_has_the_wanted_noise),
    (only_the_best_trial_is_counted, checks.rule_7_a_search_states_the_composition_of_all_its_trials),
    (a_shared_query_is_counted_per_trial, checks.rule_7_a_search_states_the_composition_of_all_its_trials),
    (the_chain_is_not_checked, checks.rule_8_the_ledger_is_append_only_and_chained),
    (charges_are_not_synced, checks.rule_8_the_ledger_is_append_only_and_chained),
    (a_private_metric_passes_for_a_free_one, checks.rule_9_a_metric_says_what_it_touches),
    (a_private_set_shows_its_content, checks.rule_10_nothing_that_is_printed_shows_pixels_or_labels),
]


@pytest.mark.parametrize(
    ("fault", "rule"), FAULTS, ids=[f"{fault.__name__}-{rule.__name__[:7]}" for fault, rule in FAULTS]
)
@pytest.mark.thorough
def test_the_check_sees_the_fault(
    fault: Callable[[Patch], None], rule: Callable[[World], None], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.get_rng_state()
    try:
        with monkeypatch.context() as patch:
            fault(patch)
            with pytest.raises((AssertionError, LostAnswer, Unpaid)):  # by the check, or the code's own of its books
                rule(world)
    finally:
        torch.set_rng_state(state)
        forget_epsilons()


def test_every_rule_has_a_fault() -> None:
    assert {rule.__name__ for _, rule in FAULTS} == set(RULES)
    assert {name.split("_")[1] for name in RULES} == {str(number) for number in range(1, 11)}
