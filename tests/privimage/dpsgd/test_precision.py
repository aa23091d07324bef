"""Activations in bf16: gradients near those of float32, while norms and sums stay exact to 1e-4."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import known
import pytest
import torch
from small_networks import LOSS, Shape, draws_of, net
from torch import Tensor, nn

from privimage.data.sets import PrivateSet
from privimage.dpsgd import layers, loop, vmap
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.rules import conv2d, fastest, linear, rule
from privimage.dpsgd.rules.rule import BatchPlan
from privimage.generators.config import PretrainConfig
from privimage.generators.generator import Generator
from privimage.generators.pretrain import pretrain
from privimage.privacy.budget import Event
from privimage.workers import Workers

Patch = pytest.MonkeyPatch
HALF = replace(LOSS, edm=replace(LOSS.edm, precision="bf16"))
ENGINES = {"layers": layers, "vmap": vmap, "loop": loop}
WAYS = ["grouped", "looped", "columns", "shifted", "gram"]


def clipped(
    add: Callable[..., Tensor], F: nn.Module, draws: Batch, C: float, loss: Any = HALF
) -> tuple[Tensor, Tensor]:
    """Norms, and the clipped sum as one vector."""
    F.zero_grad(set_to_none=True)
    norms = add(F, draws, loss=loss, C=C)
    grads = [p.grad for p in F.parameters() if p.grad is not None]
    assert {g.dtype for g in grads} == {torch.float32} and norms.dtype == torch.float32
    return norms.double(), torch.cat([g.flatten() for g in grads]).double()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("K", [1, 3])
def test_the_sum_is_near_that_of_float32_and_not_equal_to_it(engine: str, K: int) -> None:
    add, F, draws = ENGINES[engine].add_clipped_sum, net(Shape()), draws_of(4, K)
    _, exact = clipped(add, F, draws, 1e6, LOSS)
    _, rounded = clipped(add, F, draws, 1e6)
    off = float((rounded - exact).norm() / exact.norm())
    assert 1e-5 < off < 0.03


def one_by_one(n: int, K: int) -> Iterator[Batch]:
    yield from draws_of(n, K).split(1)


@contextmanager
def forced(patch: Patch, kernel: str, *, keep: bool) -> Iterator[None]:
    with patch.context() as inside:
        inside.setattr(fastest, "choose", lambda *args: kernel if kernel != "shifted" else pointless(*args))
        inside.setattr(BatchPlan, "keeps", lambda self, bytes_, *, instead_of: keep)
        yield


def pointless(x: Tensor, gy: Tensor, geometry: Any, plan: BatchPlan) -> str:
    """Shifts are for stride 1 only."""
    return "shifted" if geometry.stride == (1, 1) and not geometry.pointwise else "looped"


def reaches_the_clip(patch: Patch, kernel: str, *, keep: bool) -> None:
    """What one example adds is as long as the norm that was told, and C where it is clipped."""
    F = net(Shape(twice=True))
    with forced(patch, kernel, keep=keep):
        for K in (1, 3):
            for example in one_by_one(3, K):
                norms, free = clipped(layers.add_clipped_sum, F, example, 1e6)
                assert float(free.norm()) == pytest.approx(float(norms), rel=1e-4)
                C = 0.3 * float(norms)
                assert float(clipped(layers.add_clipped_sum, F, example, C)[1].norm()) == pytest.approx(C, rel=1e-4)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kernel", WAYS)
def test_an_example_adds_what_its_norm_says(kernel: str, keep: bool, monkeypatch: Patch) -> None:
    reaches_the_clip(monkeypatch, kernel, keep=keep)


@pytest.mark.parametrize("module", [conv2d, linear, rule])
def test_the_check_sees_sums_in_less_than_float32(module: Any, monkeypatch: Patch) -> None:
    """Planted: gradients that are made twice stay in bf16, or the factors of kept ones do."""
    if module is rule:
        monkeypatch.setattr(
            rule.Factors, "sum", lambda self, G: (self.value.bfloat16() @ G.flatten(1).bfloat16()).view(G.shape[1:])
        )
    else:
        monkeypatch.setattr(module, "wide", lambda dtype: dtype)
    monkeypatch.setattr(layers, "verify", lambda *args, **rest: None)
    with pytest.raises((AssertionError, RuntimeError)):
        reaches_the_clip(monkeypatch, "grouped", keep=module is rule)


def test_what_is_made_twice_is_made_without_tf32(monkeypatch: Patch) -> None:
    """On a GPU the inputs of float32 products may be rounded; then a norm would not be that of what is added."""
    seen: list[bool] = []

    def watched(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: Any) -> Tensor:
            seen.append(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
            return function(*args)

        return call

    for module, name in ((conv2d, "gram_norms"), (conv2d, "weight_gradient"), (linear, "gram_total")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    try:
        with forced(monkeypatch, "gram", keep=False):
            clipped(layers.add_clipped_sum, net(Shape()), draws_of(2, 1), 1.0, LOSS)
        assert seen and not any(seen)
        assert torch.backends.cuda.matmul.allow_tf32, "the caller's setting is as it was"
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_fine_tuning_and_pre_training_take_it(tiny: Callable[..., Generator], sensitive: PrivateSet) -> None:
    def tuned(precision: str) -> Tensor:
        config = FinetuneConfig.model_validate({"precision": precision, "optimizer": "adam", "lr": 0.01, "K": 2})
        event = Event(purpose="dp-sgd", split="train", sigma=1.0, q=0.5, steps=2)
        release = fine_tune(
            tiny(), sensitive, config=config, event=event, entropy=known.entropy(2**100), workers=Workers.alone()
        )
        return torch.cat([t.flatten() for t in release.value.state.values()])

    def pretrained(precision: str) -> Tensor:
        config = PretrainConfig.model_validate({"images": 256, "batch": 64, "precision": precision})
        state = pretrain(
            tiny(),
            sensitive.rows,
            sensitive.y,
            weights=None,
            config=config,
            seed=0,
            workers=Workers.alone(),
            progress=lambda done, total: None,
        )
        return torch.cat([t.flatten() for t in state.values()])

    for train in (tuned, pretrained):
        full, half = train("fp32"), train("bf16")
        assert full.dtype == half.dtype == torch.float32
        assert 0 < float((full - half).norm() / full.norm()) < 0.05


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("private", [True, False])
def test_products_are_rounded_by_name_alone(
    precision: str, private: bool, tiny: Callable[..., Generator], sensitive: PrivateSet
) -> None:
    """A GPU rounds float32 products where `tf32` says so, and nowhere else; after a training all is as it was."""
    before, seen = torch.backends.cudnn.allow_tf32, list[tuple[bool, bool]]()

    def watch(done: int, total: int) -> None:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))

    generator = tiny()
    if private:
        event = Event(purpose="dp-sgd", split="train", sigma=1, q=0.5, steps=1)
        config, key = FinetuneConfig(precision=precision), known.entropy(1)  # type: ignore[arg-type]
        fine_tune(
            generator, sensitive, config=config, event=event, entropy=key, workers=Workers.alone(), progress=watch
        )
    else:
        first = PretrainConfig(precision=precision, images=8, batch=8)  # type: ignore[arg-type]
        pretrain(
            generator, sensitive.rows, sensitive.y, weights=None, config=first, seed=0, workers=Workers.alone(),
            progress=watch,
        )  # fmt: skip
    assert seen == [(precision == "tf32",) * 2] and torch.backends.cudnn.allow_tf32 == before
