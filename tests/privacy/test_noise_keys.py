"""Where the key of every noise comes from: a real trial under injected entropies, and faults that must be seen.

An injected entropy is a hash of a secret and the name of the access, so that one access can be given another secret
while all else stays as it is. What is released then follows from the secrets alone, and from all of them.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import noise_faults
import numpy as np
import pytest
import torch
import toys
from numpy.typing import NDArray
from scipy.stats import chi2

from privimage import semantics, shared_answer
from privimage.data.sets import PrivateSet, PublicSet
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.means import answer
from privimage.metrics.classifiers import accuracy
from privimage.metrics.dp_score import dp_accuracy
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.semantics import QueryFunction
from privimage.stores.file import FileStore
from privimage.workers import Workers

Patch = pytest.MonkeyPatch
Array = NDArray[Any]
ASKED = ("histogram", "derived", "generator", "score")  # accesses with noise of their own, as their names begin
TRIAL = toys.trial(metrics=["dp-accuracy[lr]"], method__finetune__steps=2)
DERIVED = {"derived": "histogram-derived"}  # the kind of what is stored, where its name is another


def of(secret: str, name: str) -> Entropy:
    return Entropy(hashlib.sha256(f"{secret}/{name}".encode()).digest())


@contextmanager
def injected(secret: str = "a", **other: str) -> Iterator[None]:
    """Entropies of `secret`; of another one for accesses whose name begins with a key of `other`."""
    with pytest.MonkeyPatch.context() as patch:
        real = FileStore.entropy

        def entropy(self: FileStore, name: str) -> Entropy:
            real(self, name)  # what a stage keeps and forgets stays as it is
            return of(other.get(name.split("-")[0], secret), name)

        patch.setattr(FileStore, "entropy", entropy)
        yield


def released(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every artefact that the trial leaves, by kind."""
    record, stages = toys.ran(folder, TRIAL, public=toys.public_set(), sensitive=toys.sensitive_set())
    kinds = {**record.artefacts}
    found = {kind: stages.store.get(kind, key) for kind, key in kinds.items()}
    return {kind: dict(artefact.arrays) for kind, artefact in found.items() if artefact is not None}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a | b)


# ---- the properties; each raises AssertionError


def every_access_is_keyed_by_its_own_entropy(folder: Path, accesses: tuple[str, ...] = ASKED) -> None:
    with injected():
        first, again = released(folder / "first"), released(folder / "again")
    assert {*ASKED} <= {*first} | {*DERIVED}
    for kind in first:
        assert equal(first[kind], again[kind]), f"{kind}: something else than the entropy was drawn from"
    for access in accesses:
        with injected(**{access: "b"}):
            other = released(folder / access)
        kind, before = DERIVED.get(access, access), True
        for stage in first:  # in the order in which they were made
            before = before and stage != kind
            same = equal(first[stage], other[stage])
            assert same or not before, f"{stage}: it comes before the {access} and depends on its noise"
            assert not same or stage != kind, f"{kind}: its noise does not depend on its entropy"


def of_the_system_nothing_is_equal(folder: Path) -> None:
    one, other = released(folder / "one"), released(folder / "other")
    for access in ASKED:
        kind = DERIVED.get(access, access)
        assert not equal(one[kind], other[kind]), kind


def bound(values: np.ndarray, std: float) -> None:
    """Values of mean 0 and that std: two chi-square bounds, together missed once in a million times."""
    squares, n = float((np.asarray(values) ** 2).sum() / std**2), np.size(values)
    low, high = chi2.ppf([5e-7, 1 - 5e-7], n)
    assert low < squares < high, f"std {(squares / n) ** 0.5 * std:.3g}, declared {std:.3g}"


def released_minus_exact_has_the_declared_std(function: QueryFunction, train: PrivateSet, folder: Path) -> None:
    query, score, k1 = (
        Event(purpose="query", split="train", sigma=6.0),
        Event(purpose="score", split="validation", sigma=3.0),
        2,
    )
    exact, validation = np.zeros((3, 12)), toys.sensitive_set().validation
    for row in function.top(train, k1=k1).T:
        np.add.at(exact, (train.y, row), 1)
    x, y = toys.pictures(30, 3, seed=9)
    right = round(accuracy(x, y, classifier="lr", test=validation, by=score) * len(validation))
    noise: dict[str, list[np.ndarray]] = {"query": [], "derived": [], "score": []}
    for number in range(60):
        asked = semantics.ask(function, train, k1=k1, event=query, entropy=of("a", f"{number}"))
        wider = shared_answer.noisier(
            asked.value, sensitivity=k1**0.5, asked=6.0, wanted=10.0, entropy=of("b", f"{number}")
        )
        noise["query"].append(asked.value - exact)
        noise["derived"].append(wider - asked.value)
        got = dp_accuracy(x, y, classifier="lr", validation=validation, event=score, entropy=of("c", f"{number}"))
        noise["score"].append(np.array([got.value * len(validation) - right]))
    for what, std in (("query", 6 * k1**0.5), ("derived", 8 * k1**0.5), ("score", 3.0)):
        bound(np.stack(noise[what]), std)
        assert len(np.unique(np.stack(noise[what]), axis=0)) == 60, f"{what}: two answers with one noise"


def steps_of(train: PrivateSet, entropy: Entropy, *, steps: int) -> np.ndarray:
    """The noise that was really added [steps, weights], of standard deviation 1: no example joins any batch."""
    event, generator = Event(purpose="dp-sgd", split="train", sigma=1.5, q=1e-9, steps=steps), toys.tiny()
    config = FinetuneConfig(optimizer="adam", lr=1e-9, C=0.1, K=2)
    seen: list[np.ndarray] = []

    def watch(done: int, total: int) -> None:
        grads = [p.grad.ravel() for p in generator.F.parameters() if p.grad is not None]
        seen.append(torch.cat(grads).double().numpy() * (1e-9 * len(train)) / (1.5 * 0.1))

    fixed: dict[str, Any] = {"config": config, "event": event, "workers": Workers.alone()}
    fine_tune(generator, train, entropy=entropy, progress=watch, **fixed)
    return np.stack(seen)


def nothing_seen(d: int) -> Callable[..., NDArray[np.float32]]:
    """What a mean is asked of: d zeros for every image."""
    return lambda x: np.zeros((len(x), d), np.float32)


def no_two_noises_are_alike(train: PrivateSet, function: QueryFunction) -> None:
    """Of steps, of trials, and of the questions of one entropy: unit noise in all, uncorrelated, no number twice."""
    one, n = of("a", "x"), 3 * 96
    many = {f"step {i}": row for i, row in enumerate(steps_of(train, one, steps=3))}
    many |= {f"step {i} of another trial": row for i, row in enumerate(steps_of(train, of("a", "y"), steps=2))}
    for row in many.values():
        bound(row, 1.0)
    fine = Event(purpose="query", split="train", sigma=2.0**20)  # so that the grid does not show
    empty = toys.private_set(0, seed=0)
    wide = QueryFunction(net=function.net, n_classes=n // 3)
    many["query"] = semantics.ask(wide, empty, k1=1, event=fine, entropy=one).value.ravel() / 2**20
    sums = Event(purpose="means", split="train", sigma=2.0**20)
    means = answer.ask(nothing_seen(n // 3 - 1), empty, d=n // 3 - 1, event=sums, entropy=one).value
    many["means"] = means.ravel() / answer.UNIT / 2**20
    bound(many["means"], 1.0)
    zeros = np.zeros((3, n // 3))
    many["derived"] = (
        shared_answer.noisier(zeros, sensitivity=1, asked=0.0, wanted=2.0**20, entropy=one).ravel() / 2**20
    )
    for (a, x), (b, y) in itertools.combinations(many.items(), 2):
        assert abs(np.corrcoef(x[:n], y[:n])[0, 1]) < 0.3, f"{a} and {b} are correlated"
        assert np.isclose(x[:n], y[:n], rtol=0, atol=1e-6).mean() < 0.05, f"{a} and {b} share numbers"


# ---- they hold


@pytest.fixture(scope="module")
def public() -> PublicSet:
    return toys.public_set()


@pytest.fixture(scope="module")
def function(public: PublicSet) -> QueryFunction:
    return toys.query_function(toys.query_weights(public))


@pytest.fixture(scope="module")
def train() -> PrivateSet:
    return toys.private_set(40, seed=1)


def test_every_access_is_keyed_by_its_own_entropy(tmp_path: Path) -> None:
    every_access_is_keyed_by_its_own_entropy(tmp_path)


def test_what_the_system_gives_is_never_given_again(tmp_path: Path) -> None:
    of_the_system_nothing_is_equal(tmp_path)


def test_released_minus_exact_has_the_declared_std(function: QueryFunction, train: PrivateSet, tmp_path: Path) -> None:
    released_minus_exact_has_the_declared_std(function, train, tmp_path)


def test_no_two_noises_are_alike(train: PrivateSet, function: QueryFunction) -> None:
    no_two_noises_are_alike(train, function)


# ---- planted faults


Check = Callable[[Path, PrivateSet, QueryFunction], None]


def _key_of(access: str) -> Check:
    def check(folder: Path, train: PrivateSet, function: QueryFunction) -> None:
        every_access_is_keyed_by_its_own_entropy(folder, (access,))

    check.__name__ = access
    return check


def _system(folder: Path, train: PrivateSet, function: QueryFunction) -> None:
    of_the_system_nothing_is_equal(folder)


def _std(folder: Path, train: PrivateSet, function: QueryFunction) -> None:
    released_minus_exact_has_the_declared_std(function, train, folder)


def _alike(folder: Path, train: PrivateSet, function: QueryFunction) -> None:
    no_two_noises_are_alike(train, function)


FAULTS: list[tuple[Callable[[Patch], None], Check]] = [
    (noise_faults.a_score_without_noise, _key_of("score")),
    (noise_faults.a_score_without_noise, _std),
    (noise_faults.a_score_by_a_public_seed, _key_of("score")),
    (noise_faults.a_derived_answer_by_a_public_seed, _key_of("derived")),
    (noise_faults.a_derived_answer_without_noise, _key_of("derived")),
    (noise_faults.a_query_by_a_public_seed, _key_of("histogram")),
    (noise_faults.training_by_a_public_seed, _key_of("generator")),
    (noise_faults.the_entropy_of_the_query_for_the_derived_answer, _key_of("derived")),
    (noise_faults.the_entropy_is_a_public_constant, _system),
    (noise_faults.noise_of_half_the_std, _std),
    (noise_faults.one_noise_for_all_answers, _std),
    (noise_faults.the_same_noise_in_every_step, _alike),
    (noise_faults.the_same_noise_in_every_trial, _alike),
    (noise_faults.one_stream_for_all_purposes, _alike),
    (noise_faults.means_from_the_stream_of_the_query, _alike),
    (noise_faults.means_without_noise, _alike),
    (noise_faults.a_quarter_of_the_noise_in_training, _alike),
]


@pytest.mark.parametrize(
    ("fault", "check"), FAULTS, ids=[f"{fault.__name__}-{check.__name__}" for fault, check in FAULTS]
)
@pytest.mark.thorough
def test_the_fault_is_seen(
    fault: Callable[[Patch], None],
    check: Check,
    train: PrivateSet,
    function: QueryFunction,
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError):
            check(tmp_path, train, function)


@pytest.mark.parametrize("call", ["query", "means", "derived", "score", "training"])
def test_a_seed_in_the_place_of_an_entropy_is_an_error(call: str, train: PrivateSet, function: QueryFunction) -> None:
    """A trial's seed is public: no function that draws noise takes one."""
    x, y = toys.pictures(30, 3, seed=9)
    calls: dict[str, Callable[[Any], object]] = {
        "query": lambda seed: semantics.ask(
            function, train, k1=1, event=Event(purpose="query", split="train", sigma=5), entropy=seed
        ),
        "means": lambda seed: answer.ask(
            nothing_seen(5), train, d=5, event=Event(purpose="means", split="train", sigma=5), entropy=seed
        ),
        "derived": lambda seed: shared_answer.noisier(np.zeros((2, 3)), sensitivity=1, asked=1, wanted=2, entropy=seed),
        "score": lambda seed: dp_accuracy(
            x, y, classifier="lr", validation=toys.sensitive_set().validation,
            event=Event(purpose="score", split="validation", sigma=1), entropy=seed,
        ),
        "training": lambda seed: fine_tune(
            toys.tiny(), train, config=FinetuneConfig(), event=Event(purpose="dp-sgd", split="train", sigma=1, steps=1),
            entropy=seed, workers=Workers.alone(),
        ),
    }  # fmt: skip
    for seed in (0, 2**100, TRIAL.seed, TRIAL.id):
        with pytest.raises(AttributeError):
            calls[call](seed)
