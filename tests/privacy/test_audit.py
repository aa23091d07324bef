"""A one-run audit of the real `fine_tune` (Steinke, Nasr, Jagielski 2023): what an attacker finds is below the claim.

Each of m canaries joins the training set by a fair coin, training runs once, and the attacker, who sees the released
weights, guesses r of the coins. Whoever has (epsilon, delta) guesses no better than a coin that shows the truth with
probability e^epsilon / (1 + e^epsilon), but for a little: so many right guesses refute every smaller epsilon.

The network has one weight a label and every canary a label of its own: the gradient of a canary is its own weight's,
clipped to C, so that the attack is as strong as it can be. A bound is no proof; a fault is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from known import entropy
from scipy.optimize import brentq
from scipy.stats import binom
from torch import Tensor, nn

from privimage.data.sets import PrivateSet
from privimage.dpsgd import engine, finetune
from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer
from privimage.generators.codec import PixelCodec
from privimage.generators.diffusion import Diffusion
from privimage.generators.edm import EDM
from privimage.privacy import accounting
from privimage.privacy.accounting import calibrate
from privimage.privacy.budget import Access, Budget, Event
from privimage.workers import Workers

CANARIES, GUESSES, DELTA, CLAIM = 2000, 400, 1e-5, 1.0


class OneWeightALabel(nn.Module):
    """F(x, sigma, label) = the weight of the label, for images of one pixel."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.weight = nn.Embedding(labels + 1, 1)
        nn.init.zeros_(self.weight.weight)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        return self.weight(label).view(-1, 1, 1, 1)


def p_value(epsilon: float, *, m: int, r: int, right: int, delta: float) -> float:
    """Bound on the chance of so many right guesses under (epsilon, delta), Theorem 5.2 there."""
    q = 1 / (1 + math.exp(-epsilon))
    beta = float(binom.sf(right - 1, r, q))
    alpha = max(float(binom.cdf(right - 1, r, q) - binom.cdf(right - 1 - i, r, q)) / i for i in range(1, right + 1))
    return min(1.0, beta + 2 * m * delta * alpha)


def lower_bound(*, m: int, r: int, right: int, delta: float, confidence: float = 0.95) -> float:
    """The largest epsilon that so many right guesses refute; 0 if none."""

    def excess(epsilon: float) -> float:
        return p_value(epsilon, m=m, r=r, right=right, delta=delta) - (1 - confidence)

    return 0.0 if excess(0.0) >= 0 else float(brentq(excess, 0.0, 30.0))


def audited(event: Event, *, seed: int = 0, **config: Any) -> float:
    """The lower bound on epsilon that one run of fine-tuning shows."""
    rng = np.random.default_rng(seed)
    joined = rng.integers(0, 2, CANARIES).astype(bool)
    labels = np.flatnonzero(joined)
    images = PrivateSet(
        x=np.full((len(labels), 1, 1, 1), 255, np.uint8),
        y=labels.astype(np.int64),
        name="canaries",
        id="canaries",
        split="train",
        classes=tuple(map(str, range(CANARIES))),
    )
    edm = EDM(sigma_data=0.5, P_mean=3.0, P_std=0.1)  # all noise: the gradient points to the image itself
    F = OneWeightALabel(CANARIES)
    generator = Diffusion(F=F, codec=PixelCodec(), edm=edm, shape=(1, 1, 1), n_classes=CANARIES)
    values = {"optimizer": "spectral", "edge": 0.0, "momentum": 0.0, "lr": 1e-3, "K": 2, "P_mean": None, "C": 1e-3}
    release = fine_tune(
        generator,
        images,
        config=FinetuneConfig(**values | {"label_dropout": 0.0, "averaged": 1.0, "final_lr": 1.0} | config),
        event=event,
        entropy=entropy(seed + 1),
        workers=Workers.alone(),
    )
    weights = release.value.state["weight.weight"][:-1, 0].numpy()
    order = np.argsort(weights)  # those who joined were pulled up, towards their white pixel
    guessed_out, guessed_in = order[: GUESSES // 2], order[-GUESSES // 2 :]
    right = int((~joined[guessed_out]).sum() + joined[guessed_in].sum())
    return lower_bound(m=CANARIES, r=GUESSES, right=right, delta=DELTA)


def claimed(*, q: float = 1.0, steps: int = 2) -> Event:
    """DP-SGD whose epsilon is the claim."""
    event = calibrate(budget=Budget(epsilon=CLAIM, delta=DELTA), access=Access(purpose="dp-sgd", q=q, steps=steps))
    assert CLAIM - 1e-3 < accounting.epsilon([event], DELTA) <= CLAIM
    return event


@pytest.mark.parametrize(
    ("m", "r", "right", "delta", "epsilon"), [(1000, 100, 75, 1e-4, 0.67298), (100, 100, 75, 0.0, 0.70221)]
)
def test_the_bound_is_that_of_the_paper(m: int, r: int, right: int, delta: float, epsilon: float) -> None:
    assert lower_bound(m=m, r=r, right=right, delta=delta) == pytest.approx(epsilon, abs=1e-4)


@pytest.mark.parametrize(("q", "steps"), [(1.0, 2), (0.5, 4)], ids=["all examples", "Poisson batches"])
def test_what_an_attacker_finds_is_below_the_claim(q: float, steps: int) -> None:
    found = audited(claimed(q=q, steps=steps))
    assert 0 < found <= CLAIM, "the attack works, and within the claim"


@pytest.mark.parametrize("optimizer", ["adam", "spectral"])
def test_the_release_is_audited_whatever_the_optimizer(optimizer: str) -> None:
    assert audited(claimed(steps=1), optimizer=optimizer) <= CLAIM


# ---- planted faults: the bound is above the claim

Patch = pytest.MonkeyPatch


def a_quarter_of_the_noise(patch: Patch) -> None:
    real = StreamNoiseOptimizer.__init__

    def less(self: Any, *args: Any, noise_multiplier: float, **rest: Any) -> None:
        real(self, *args, noise_multiplier=noise_multiplier / 4, **rest)

    patch.setattr(StreamNoiseOptimizer, "__init__", less)


def noise_of_a_quarter_from_the_stream(patch: Patch) -> None:
    real = StepNoise.take
    patch.setattr(StepNoise, "take", lambda self: real(self) / 4)


def a_clip_four_times_too_high(patch: Patch) -> None:
    real = engine.ENGINES["layers"]

    def add(F: nn.Module, draws: Batch, *, loss: Loss, C: float) -> Tensor:
        return real(F, draws, loss=loss, C=4 * C)

    patch.setitem(engine.ENGINES, "layers", add)


def an_example_counts_four_times(patch: Patch) -> None:
    real = finetune.poisson_batches
    patch.setattr(finetune, "poisson_batches", lambda **rest: (batch.repeat(4) for batch in real(**rest)))


@pytest.mark.parametrize(
    "fault",
    [
        a_quarter_of_the_noise,
        noise_of_a_quarter_from_the_stream,
        a_clip_four_times_too_high,
        an_example_counts_four_times,
    ],
)
@pytest.mark.thorough
def test_the_audit_sees_the_fault(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        fault(patch)
        assert audited(claimed()) > 1.2 * CLAIM
