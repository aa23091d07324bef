"""No private number follows from a generator of torch, numpy or Python: they are predictable from what they gave.

What draws is run with every other source of random numbers shut but to the places that are listed in `public_draws`,
with what they make; `test_generators_read` reads the code for others.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401 - draws where it is first imported
import torch
import toys
from known import entropy
from numpy.typing import NDArray
from public_draws import PUBLIC
from quick import these
from torch.utils._python_dispatch import TorchDispatchMode

from privimage import semantics, shared_answer
from privimage.data.sets import PrivateSet
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StepNoise
from privimage.dpsgd.poisson import poisson_batches
from privimage.generators import diffusion, sizes
from privimage.generators.adversarial import GeneratorFollows
from privimage.generators.pretrain import Seeded
from privimage.matching import kernel, sanitized
from privimage.matching.config import KernelConfig, SanitizedConfig
from privimage.means import answer
from privimage.metrics.dp_score import dp_accuracy
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy, Stream
from privimage.sweeps.modes import selection
from privimage.sweeps.sweep import Sweep
from privimage.workers import Workers

Patch = pytest.MonkeyPatch
Array = NDArray[Any]


class Drawn(AssertionError):
    """A random number was drawn elsewhere than from a stream."""


def _public() -> bool:
    """Whether a public place is at work, by the callers of this moment."""
    frame = sys._getframe()
    while frame is not None:
        code = frame.f_code
        places = (place.split(":") for place in PUBLIC if ":" in place)
        if any(code.co_filename.endswith(file) and code.co_name == function for file, function in places):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class _Watch(TorchDispatchMode):
    """Refuses every operation of torch that draws, by torch's own tag of such operations."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and not _public():
            raise Drawn(str(func))
        return func(*args, **kwargs or {})


@contextmanager
def everything_else_is_shut() -> Iterator[None]:
    """Generators of torch, numpy and Python refuse to draw, in this thread and in that of the noise."""
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]

    def shut(what: Any) -> Any:
        allowed = what.__init__ if isinstance(what, type) else what

        def refuse(*args: Any, **rest: Any) -> Any:
            if _public():
                return allowed(*args, **rest)
            raise Drawn(what.__name__)

        if isinstance(what, type):  # still a class: others ask whether something is one of its kind
            return type(what.__name__, (what,), {"__init__": refuse})
        return refuse

    numpys = "default_rng SeedSequence RandomState Generator PCG64 MT19937 Philox rand randn normal random randint"
    pythons = "Random SystemRandom random gauss randint randrange shuffle sample choice"
    with pytest.MonkeyPatch.context() as patch:
        for module, names in ((np.random, numpys), (random, pythons)):
            for name in names.split():
                patch.setattr(module, name, shut(getattr(module, name)))
        make = StepNoise._make

        def watched(self: StepNoise, step: int) -> torch.Tensor:
            with _Watch():
                return make(self, step)

        patch.setattr(StepNoise, "_make", watched)
        with _Watch():
            yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist() and before[2] == random.getstate()  # type: ignore[index]


@pytest.fixture(scope="module")
def train() -> PrivateSet:
    return toys.private_set(40, seed=1)


(X, Y), VALIDATION, TINY = toys.pictures(30, 3, seed=9), toys.sensitive_set().validation, toys.tiny()
FUNCTION = toys.query_function(toys.query_weights(toys.public_set()))
ONE_STEP: Any = sizes.build("implicit-128", shape=TINY.shape, n_classes=3, seed=0)
GAN = sizes.build("gan-xs", shape=toys.private_set(3, seed=1).shape, n_classes=3, seed=0)
SGD = Event(purpose="dp-sgd", split="train", sigma=1.5, q=0.5, steps=2)


def query(train: PrivateSet) -> None:
    semantics.ask(FUNCTION, train, k1=2, event=Event(purpose="query", split="train", sigma=5), entropy=entropy(1))


def means(train: PrivateSet) -> None:
    event = Event(purpose="means", split="train", sigma=5)
    answer.ask(lambda x: np.zeros((len(x), 7), np.float32), train, d=7, event=event, entropy=entropy(1))


def derived(train: PrivateSet) -> None:
    shared_answer.noisier(np.zeros((3, 12)), sensitivity=2**0.5, asked=3, wanted=5, entropy=entropy(1))


def score(train: PrivateSet) -> None:
    for classifier in ("lr", "cnn"):
        event = Event(purpose="score", split="validation", sigma=2)
        dp_accuracy(X, Y, classifier=classifier, validation=VALIDATION, event=event, entropy=entropy(1))


def batches(train: PrivateSet) -> None:
    list(poisson_batches(n=50, q=0.5, steps=3, stream=entropy(1).stream("batches")))


def training(train: PrivateSet, engine: str = "layers") -> None:
    config = FinetuneConfig.model_validate({"engine": engine, "K": 2, "C": 0.1, "label_dropout": 0.3})
    fine_tune(copy.deepcopy(TINY), train, config=config, event=SGD, entropy=entropy(1), workers=Workers.alone())


def kernel_steps(train: PrivateSet) -> None:
    config = KernelConfig(q=0.5, steps=2, features=20, batch=12)
    kernel.train(
        copy.deepcopy(ONE_STEP), train, config=config, event=SGD, entropy=entropy(1), seed=0,
        device=torch.device("cpu"), progress=lambda done, total: None,
    )  # fmt: skip


def sanitized_steps(train: PrivateSet) -> None:
    config = SanitizedConfig(parts=4, steps=2, batch=6, rounds=1, warm=1, seen=2, width=4)
    sanitized.train(
        copy.deepcopy(ONE_STEP), train, config=config, event=SGD, entropy=entropy(1), seed=0,
        device=torch.device("cpu"), progress=lambda done, total: None,
    )  # fmt: skip


def training_of_a_gan(train: PrivateSet) -> None:
    config = FinetuneConfig.model_validate({"K": 2, "C": 0.1, "follow": {"times": 2}})
    fine_tune(copy.deepcopy(GAN), train, config=config, event=SGD, entropy=entropy(1), workers=Workers.alone())


def number_of_trials(train: PrivateSet) -> None:
    assert Law(mean=10).draw(entropy(1)) >= 1


def fresh_entropy(train: PrivateSet) -> None:
    assert Entropy.fresh() != Entropy.fresh()


DRAWS: dict[str, Callable[[PrivateSet], None]] = {
    f.__name__: f
    for f in (
        query,
        means,
        derived,
        score,
        batches,
        kernel_steps,
        sanitized_steps,
        number_of_trials,
        fresh_entropy,
        training_of_a_gan,
    )
} | {
    f"training by {engine}": (lambda train, engine=engine: training(train, engine))  # type: ignore[misc]
    for engine in ("layers", "vmap", "opacus", "loop")
}


@pytest.mark.parametrize("what", these(set(DRAWS) - {"score"}, DRAWS))
def test_private_numbers_are_drawn_with_every_generator_shut(what: str, train: PrivateSet) -> None:
    with everything_else_is_shut():
        DRAWS[what](train)


def configurations(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a selection, by the real function; it needs the sweep alone."""
    from privimage.schema import parse

    bare = selection.PrivateSelection.__new__(selection.PrivateSelection)
    bare._sweep = parse(Sweep, values)
    return bare._configurations(entropy(3), 400)


SPACE = {
    "method.query.sigma": {"log_uniform": [6, 60]},
    "method.finetune.lr": {"uniform": [0.1, 0.5]},
    "method.finetune.K": {"integers": [2, 5]},
    "method.finetune.optimizer": {"choice": ["adam", "spectral"]},
}


def test_the_trials_of_a_selection_are_drawn_with_every_generator_shut(
    tiny_values: Callable[[], dict[str, Any]],
) -> None:
    values = tiny_values() | {"search": SPACE}
    with everything_else_is_shut():
        drawn = configurations(values)
    assert drawn == configurations(values) and len(drawn) == 400
    columns = {field: [params[field] for params in drawn] for field in SPACE}
    sigma, lr = (np.array(columns[f"method.{name}"]) for name in ("query.sigma", "finetune.lr"))
    assert 6 <= sigma.min() < 6.2 and 58 < sigma.max() <= 60 and abs((sigma < 60**0.5 * 6**0.5).mean() - 0.5) < 0.08
    assert 0.1 <= lr.min() and lr.max() <= 0.5 and abs(lr.mean() - 0.3) < 0.02
    assert abs(np.corrcoef(np.log(sigma), lr)[0, 1]) < 0.15, "every field is drawn on its own"
    for field, expected in (("method.finetune.K", {2, 3, 4, 5}), ("method.finetune.optimizer", {"adam", "spectral"})):
        counts = [columns[field].count(value) for value in expected]
        assert sum(counts) == 400 and min(counts) > 0.7 * 400 / len(expected)
        assert {type(value) for value in columns[field]} == {type(value) for value in expected}


# ---- planted faults


def noise_of_torch(patch: Patch) -> None:
    def perturb(self: Event, value: Array, *, sensitivity: float, stream: Stream) -> Array:
        seeded = torch.Generator().manual_seed(int(stream.words(1)[0] & 0xFFFF))
        return (
            value + torch.randn(value.shape, generator=seeded, dtype=torch.float64).numpy() * sensitivity * self.sigma
        )

    patch.setattr(Event, "perturb", perturb)


def noise_of_numpy(patch: Patch) -> None:
    def perturb(self: Event, value: Array, *, sensitivity: float, stream: Stream) -> Array:
        rng = np.random.default_rng(int(stream.words(1)[0] & 0xFFFF))
        return value + rng.normal(size=value.shape) * sensitivity * self.sigma

    patch.setattr(Event, "perturb", perturb)


def batches_of_torch(patch: Patch) -> None:
    patch.setattr(Stream, "uniforms", lambda self, *shape: torch.rand(shape, dtype=torch.float64).numpy())


def draws_of_a_seeded_generator(patch: Patch) -> None:
    real = diffusion.draw

    def seeded(*args: Any, rng: Stream, **rest: Any) -> Any:
        return real(*args, rng=Seeded(torch.Generator().manual_seed(1)), **rest)

    patch.setattr(diffusion, "draw", seeded)


def a_generator_that_draws_from_torch(patch: Patch) -> None:
    real = GeneratorFollows.after

    def seeded(self: GeneratorFollows, step: int, *, rng: Any, **rest: Any) -> None:
        real(self, step, rng=Seeded(torch.Generator().manual_seed(1)), **rest)

    patch.setattr(GeneratorFollows, "after", seeded)


def noise_of_opacus(patch: Patch) -> None:
    from opacus.optimizers import DPOptimizerFastGradientClipping

    from privimage.dpsgd.noise import StreamNoiseOptimizer

    patch.setattr(StreamNoiseOptimizer, "add_noise", DPOptimizerFastGradientClipping.add_noise)


def noise_of_torch_in_the_thread(patch: Patch) -> None:
    patch.setattr(StepNoise, "_make", lambda self, step: torch.randn(self._count, dtype=torch.float64))


def a_number_of_trials_of_numpy(patch: Patch) -> None:
    def draw(self: Law, entropy: Entropy) -> int:
        return int(self.quantile(np.random.default_rng(list(entropy.raw)).random()))

    patch.setattr(Law, "draw", draw)


FAULTS: list[tuple[Callable[[Patch], None], str]] = [
    (noise_of_torch, "query"),
    (noise_of_torch, "score"),
    (noise_of_torch, "means"),
    (noise_of_numpy, "query"),
    (noise_of_numpy, "kernel_steps"),
    (batches_of_torch, "kernel_steps"),
    (noise_of_numpy, "sanitized_steps"),
    (batches_of_torch, "sanitized_steps"),
    (batches_of_torch, "batches"),
    (draws_of_a_seeded_generator, "training by layers"),
    (a_generator_that_draws_from_torch, "training_of_a_gan"),
    (noise_of_opacus, "training by layers"),
    (noise_of_torch_in_the_thread, "training by vmap"),
    (a_number_of_trials_of_numpy, "number_of_trials"),
]


@pytest.mark.parametrize(("fault", "what"), FAULTS, ids=[f"{fault.__name__}-{what}" for fault, what in FAULTS])
def test_the_fault_is_seen(fault: Callable[[Patch], None], what: str, train: PrivateSet, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(Drawn), everything_else_is_shut():
            DRAWS[what](train)
