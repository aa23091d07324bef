"""The privacy rules of the design, one check a rule: it raises AssertionError when its rule is broken.

What is left to others: private selection (rule 7) in tests/sweeps, the command line's words (9), Ray (4).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known import entropy
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from privimage import record as records
from privimage import semantics, shared_answer
from privimage.data.sets import PrivateSet, SensitiveData
from privimage.dpsgd import engine, finetune
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StepNoise
from privimage.dpsgd.normals import Tensors
from privimage.errors import InputError, LostAnswer
from privimage.generators.diffusion import EdmLoss, draw
from privimage.generators.generator import Generator
from privimage.metrics.metric import Metric
from privimage.privacy import accounting
from privimage.privacy.accounting import calibrate, pld, total
from privimage.privacy.budget import Access, Budget, Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.ledger import Ledger
from privimage.record import Paid
from privimage.semantics import QueryFunction
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.workers import Workers

QUERY = Event(purpose="query", split="train", sigma=7.0)
ENTROPY = entropy(2**100 + 1)


@dataclass(frozen=True, kw_only=True)
class World:
    """What the checks need: real sets, a real query function, a factory of tiny generators, an empty folder."""

    sensitive: PrivateSet
    function: QueryFunction
    tiny: Callable[..., Generator]
    folder: Path

    def stages(self) -> Stages:
        store, ledger = FileStore(self.folder / "store"), Ledger(self.folder / "ledger.jsonl")
        return Stages(workers=Workers.alone(), store=store, cache=store, ledger=ledger)

    def tune(self, event: Event, *, entropy: Entropy = ENTROPY, **config: Any) -> tuple[Generator, Tensor]:
        """A generator after fine-tuning, and its start weights; its p.grad are those of the last step."""
        generator = self.tiny()
        start = torch.cat([p.detach().ravel().clone() for p in generator.F.parameters()])
        values = {"optimizer": "adam", "lr": 0.01, "C": 0.1, "K": 2, "P_mean": None, "label_dropout": 0.0} | config
        fine_tune(
            generator,
            self.sensitive,
            config=FinetuneConfig(**values),
            event=event,
            entropy=entropy,
            workers=Workers.alone(),
        )
        return generator, start


def grads(generator: Generator) -> Tensor:
    return torch.cat([p.grad.ravel() for p in generator.F.parameters() if p.grad is not None])


def rule_1_one_gaussian_over_the_whole_histogram(world: World) -> None:
    few = replace(world.sensitive, x=world.sensitive.x[:4], y=world.sensitive.y[:4])
    for k1 in (1, 4):

        def ask(
            images: PrivateSet, number: int, *, k1: int = k1, event: Event = QUERY
        ) -> np.ndarray:  # the events are part of the answer
            release = semantics.ask(world.function, images, k1=k1, event=event, entropy=entropy(number))
            assert release.events == (event,) and event.q == 1 and event.steps == 1
            return release.value

        S = ask(few, 0, event=Event(purpose="query", split="train", sigma=1e-9))
        noise = np.stack([ask(few, number) - S for number in range(150)])
        std = k1**0.5 * 7
        assert math.isclose(noise.std(), std, rel_tol=0.04), "std sqrt(k1) sigma_s over all entries"
        assert math.isclose((noise**4).mean() / noise.var() ** 2, 3, rel_tol=0.12), "Gaussian, not uniform"
        assert np.abs(noise.std(axis=(0, 2)) / std - 1).max() < 0.1, "every row alike"
        assert np.abs(np.corrcoef(noise.reshape(150, -1).T) - np.eye(36)).max() < 0.45, "one draw for every entry"
        for i in range(4):
            keep = np.arange(4) != i
            less = replace(few, x=few.x[keep], y=few.y[keep])
            assert np.linalg.norm(ask(few, 1) - ask(less, 1)) <= k1**0.5 + 1e-9, "L2 sensitivity sqrt(k1)"


def rule_2_batches_are_poisson(world: World) -> None:
    batches = finetune.poisson_batches(n=50, q=0.3, steps=1500, stream=entropy(3).stream("batches"))
    joined = np.zeros((1500, 50))
    for row, batch in zip(joined, batches, strict=True):
        row[batch.numpy()] = 1
    assert math.isclose(joined.sum(1).mean(), 15, rel_tol=0.03) and np.abs(joined.mean(0) - 0.3).max() < 0.06
    assert math.isclose(joined.sum(1).var(), 50 * 0.3 * 0.7, rel_tol=0.2), "sizes vary: no loader of fixed batches"
    assert np.abs(np.corrcoef(joined.T) - np.eye(50)).max() < 0.14, "examples join independently"


def rule_2_the_divisor_is_the_expected_batch(world: World) -> None:
    event = Event(purpose="dp-sgd", split="train", sigma=1e-9, q=0.4, steps=1)
    batch = next(iter(finetune.poisson_batches(n=40, q=0.4, steps=1, stream=ENTROPY.stream("batches"))))
    assert len(batch) != 16
    generator, _ = world.tune(event, C=1e-6)  # everybody is clipped, so the sum is made of unit vectors times C
    draws = draws_of(world, batch, generator)
    expected = sum_of_clipped(world.tiny(), draws, C=1e-6) / 16
    assert torch.allclose(grads(generator), expected, rtol=1e-2, atol=float(expected.abs().max()) * 1e-3)


def rule_2_an_empty_batch_takes_its_noise_step(world: World) -> None:
    generator, start = world.tune(Event(purpose="dp-sgd", split="train", sigma=1.5, q=1e-7, steps=3))
    end = torch.cat([p.detach().ravel() for p in generator.F.parameters()])
    assert (end - start).abs().mean() > 1e-3
    assert math.isclose(grads(generator).std().item(), 1.5 * 0.1 / (1e-7 * 40), rel_tol=0.06)


def draws_of(world: World, batch: Tensor, generator: Generator, K: int = 2) -> Batch:
    rng = Tensors(ENTROPY.stream("draws/0/0"))
    z = generator.codec.encode(torch.from_numpy(world.sensitive.x[batch]))
    y = torch.from_numpy(world.sensitive.y[batch])
    return draw(z, y, K=K, edm=generator.edm, null=3, label_dropout=0.0, rng=rng)


def gradient_of(generator: Generator, draws: Batch, i: int) -> Tensor:
    """Of the mean over the draws of example i, by plain autograd in double precision."""
    F = generator.F.double()
    one = draws.split(1)[i].map(lambda t: t.double() if t.is_floating_point() else t)
    each = EdmLoss(edm=generator.edm)(F, *one.flat())
    return torch.cat([g.ravel() for g in torch.autograd.grad(each.mean(), list(F.parameters()))])


def sum_of_clipped(generator: Generator, draws: Batch, *, C: float) -> Tensor:
    parts = [gradient_of(generator, draws, i) for i in range(draws.shape[0])]
    return sum((g * min(1.0, C / g.norm().item()) for g in parts), torch.zeros_like(parts[0])).float()


def rule_3_an_example_is_clipped_once_over_all_parameters(world: World) -> None:
    for name in ("layers", "vmap", "opacus", "loop"):
        generator = world.tiny()
        draws = draws_of(world, torch.arange(6), generator, K=3)
        single = [gradient_of(world.tiny(), draws, i) for i in range(6)]
        C = float(torch.stack([g.norm() for g in single]).median())
        norms = engine.choose(name, generator.F)(generator.F, draws, loss=EdmLoss(edm=generator.edm), C=C)  # type: ignore[arg-type]
        for i, g in enumerate(single):
            assert norms[i].item() >= g.norm().item() * (1 - 1e-4), "norms are never under-estimated"
        expected = sum_of_clipped(world.tiny(), draws, C=C)
        assert (grads(generator) - expected).norm() <= 1e-3 * expected.norm(), name


def rule_3_a_parameter_without_a_contribution_is_an_error(world: World) -> None:
    generator = world.tiny()
    generator.F.extra = torch.nn.LayerNorm(4)  # trainable, and layers has no rule for it
    try:
        draws, loss = draws_of(world, torch.arange(2), generator), EdmLoss(edm=generator.edm)
        engine.ENGINES["layers"](generator.F, draws, loss=loss, C=1.0)
    except ValueError:
        return
    raise AssertionError("a trainable parameter was taken for one with a zero norm")


def rule_3_nobody_can_know_which_draws_an_example_has(world: World) -> None:
    """An example more moves others to other draws; were these known, it would move the sum by far more than C."""
    everyone = Event(purpose="dp-sgd", split="train", sigma=1e-9, q=1.0)
    one, other = (grads(world.tune(everyone, entropy=entropy(7 + (bit << 170)))[0]) for bit in (0, 1))
    assert (one - other).norm() > 0.1 * one.norm()


def rule_4_noise_is_sigma_C_once_a_step(world: World) -> None:
    event = Event(purpose="dp-sgd", split="train", sigma=2.0, q=0.25, steps=1)
    F = world.tiny(width=64).F
    count = sum(p.numel() for p in F.parameters())
    seen = []
    with StepNoise(entropy(7), count=count, device=torch.device("cpu")) as made:
        stepper = finetune._optimizer(F, FinetuneConfig(optimizer="adam"), event, C=0.3, n=40, noise=made)
        for step in range(2):
            made.begin(step)
            stepper.zero_grad(set_to_none=True)
            for p in F.parameters():
                p.grad = torch.zeros_like(p)
            stepper.step()
            seen.append(torch.cat([p.grad.ravel() for p in F.parameters() if p.grad is not None]))
    for noise in seen:
        assert math.isclose(noise.std().item(), 2.0 * 0.3 / (0.25 * 40), rel_tol=0.02)
    assert abs(torch.corrcoef(torch.stack(seen))[0, 1].item()) < 0.03, "every step draws its own"


def rule_4_trials_have_noise_of_their_own_and_nothing_is_seeded_globally(world: World) -> None:
    entropies = [FileStore(world.folder / folder).entropy(name) for folder in "ab" for name in ("x", "y")]
    assert len(set(entropies)) == 4, "fresh from the operating system"
    assert all(len(set(e.raw)) > 16 for e in entropies), "256 bits"
    for a, b in ((entropies[0], entropies[1]), (entropy(5), entropy(5 + 2**32)), (entropy(5), entropy(5 + 2**200))):
        noise = []
        for e in (a, b):
            with StepNoise(e, count=8, device=torch.device("cpu")) as made:
                made.begin(0)
                noise.append(made.take().tolist())
        assert not set(noise[0]) & set(noise[1]), "every bit counts"
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    world.tune(Event(purpose="dp-sgd", split="train", sigma=1.5, q=0.4, steps=1))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # type: ignore[index]


def rule_4_the_state_of_the_noise_is_internal_and_forgotten(world: World) -> None:
    stages = world.stages()

    def build(entropy: Entropy, progress: Any) -> Built:
        (path,) = (stages.store.root / "internal").iterdir()
        assert path.stat().st_mode & 0o777 == 0o600, "nobody else reads it"
        return Built(arrays={"a": np.ones(1)}, privacy="released")

    artefact = stages.private("kind", {}, what="x", events=(QUERY,), build=build)
    assert not list((stages.store.root / "internal").iterdir()), "nobody can subtract the noise"
    assert "entropy" not in artefact.manifest.model_dump_json()


def forget_epsilons() -> None:
    """Empty every memory of the accountant, so that a planted fault in it shows."""
    for remembered in (calibrate, total._epsilon, total._pld, total._rdp, pld.of_event):
        getattr(remembered, "cache_clear", lambda: None)()


def exact_epsilon(sigmas: list[float], delta: float) -> float:
    """Of composed Gaussian mechanisms (Balle and Wang 2018), without any accountant."""
    mu = math.sqrt(sum(s**-2 for s in sigmas))
    return float(
        brentq(lambda e: norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu) - delta, 1e-9, 90)
    )


def rule_5_calibration_is_joint_and_never_above_the_target(world: World) -> None:
    for target, query in ((2.0, 6.0), (0.8, 20.0)):
        others = (Event(purpose="query", split="train", sigma=query),)
        forget_epsilons()
        event = calibrate(
            budget=Budget(epsilon=target, delta=1e-5), access=Access(purpose="dp-sgd", q=1.0, steps=4), others=others
        )
        exact = exact_epsilon([query, *[event.sigma] * 4], 1e-5)
        assert exact <= target, "what is paid is never more than what is read"
        assert exact >= target - 0.01, "and hardly less"
        stated = accounting.epsilon((*others, event), 1e-5)
        assert exact - 1e-9 <= stated <= target and target - 1e-3 < stated
        assert accounting.epsilon_rdp((*others, event), 1e-5) >= stated


def rule_6_the_query_is_never_asked_twice(world: World) -> None:
    stages, asked = world.stages(), []

    def build(entropy: Entropy, progress: Any) -> Built:
        assert stages.ledger.charges(), "charged before the data is touched"
        asked.append(entropy)
        return Built(arrays={"a": np.ones(1)}, privacy="released")

    key = stages.private("histogram", {}, what="x", events=(QUERY,), build=build).manifest.key
    stages.private("histogram", {}, what="x", events=(QUERY,), build=build)
    folder = stages.store.folder("histogram", key)
    folder.rename(world.folder / "lost")
    try:
        stages.private("histogram", {}, what="x", events=(QUERY,), build=build)
    except LostAnswer:
        pass
    assert len(asked) == 1 and len(stages.ledger.charges()) == 1, "a cache miss never asks again"


def rule_6_a_killed_query_is_finished_with_the_same_noise(world: World) -> None:
    asked: list[Entropy] = []

    def build(entropy: Entropy, progress: Any) -> Built:
        asked.append(entropy)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return Built(arrays={"a": np.ones(1)}, privacy="released")

    for _ in range(2):
        try:
            world.stages().private("histogram", {}, what="x", events=(QUERY,), build=build)
        except KeyboardInterrupt:
            assert len(world.stages().ledger.charges()) == 1, "charged before it was asked"
    assert len(asked) == 2 and asked[0] == asked[1] and len(world.stages().ledger.charges()) == 1


def rule_6_a_derived_answer_has_the_wanted_noise(world: World) -> None:
    for k1 in (1, 4):
        zeros, stream = np.zeros((100, 150), np.int64), entropy(0).stream("histogram")
        asked = Event(purpose="query", split="train", sigma=3.0).perturb(zeros, sensitivity=k1**0.5, stream=stream)
        wider = shared_answer.noisier(asked, sensitivity=k1**0.5, asked=3.0, wanted=5.0, entropy=entropy(9))
        assert math.isclose(wider.std(), k1**0.5 * 5.0, rel_tol=0.02)
        assert math.isclose((wider - asked).std(), k1**0.5 * 4.0, rel_tol=0.02)
        assert abs(np.corrcoef((wider - asked).ravel(), asked.ravel())[0, 1]) < 0.03


def rule_7_a_search_states_the_composition_of_all_its_trials(world: World) -> None:
    from types import SimpleNamespace

    sgd = Event(purpose="dp-sgd", split="train", sigma=4, q=0.2, steps=10)
    shared = Paid(id="query", what="q", events=(QUERY,))
    trials = [SimpleNamespace(paid=(shared, Paid(id=f"t{i}", what="t", events=(sgd,)))) for i in range(3)]
    stated = records.composition(trials, delta=1e-5)  # type: ignore[arg-type]
    assert stated == accounting.epsilon([QUERY, sgd, sgd, sgd], 1e-5), "all trials, and a shared query once"


def rule_8_the_ledger_is_append_only_and_chained(world: World) -> None:
    ledger = Ledger(world.folder / "ledger.jsonl")
    synced: list[int] = []
    sync = os.fsync
    for i in range(3):
        before = ledger.path.read_bytes() if i else b""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda handle: (synced.append(handle), sync(handle))[1])
            ledger.charge(id=f"c{i}", what="x", events=(Event(purpose="query", split="train", sigma=5.0 + i),))
        assert ledger.path.read_bytes().startswith(before), "append-only"
    assert len(synced) >= 3, "on disk before it returns"
    raw = ledger.path.read_bytes()
    lines = raw.splitlines(keepends=True)
    for forged in (raw.replace(b"5.0", b"9.0", 1), b"".join([lines[0], lines[2]]), b"".join(lines[1:])):
        ledger.path.write_bytes(forged)
        try:
            ledger.charges()
        except InputError as error:
            assert "line " in str(error)
        else:
            raise AssertionError("a changed ledger was believed")


def rule_9_a_metric_says_what_it_touches(world: World) -> None:
    for touches, private in ((("synthetic",), False), (("synthetic", "private-test"), True)):
        metric = Metric(name="accuracy[lr]", value=0.5, touches=touches, direction="max", n=10)
        assert metric.non_private == private
    with pytest.raises(ValueError):
        Metric(name="accuracy[lr]", value=0.5, touches=(), direction="max", n=10)


def rule_10_nothing_that_is_printed_shows_pixels_or_labels(world: World) -> None:
    marked = replace(
        world.sensitive,
        x=np.full_like(world.sensitive.x, 211),
        y=np.full_like(world.sensitive.y, 2),
    )
    others = {split: replace(marked, split=split) for split in ("validation", "test")}
    whole = SensitiveData(train=marked, **others)
    texts = [f"{marked}", repr(marked), repr(whole), repr(QUERY)]
    try:
        semantics.ask(world.function, marked, k1=1000, event=QUERY, entropy=ENTROPY)
    except Exception as error:
        texts.append(str(error))
    assert len(texts) == 5
    for text in texts:
        assert "211" not in text and "array" not in text and "tensor(" not in text, text[:80]


RULES = {name: check for name, check in list(globals().items()) if name.startswith("rule_")}
