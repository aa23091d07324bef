"""What a GPU plays back is what runs. A CPU runs it again in the same memory: all but the graph itself is seen here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from quick import first
from torch import Tensor

from privimage.dpsgd.batch import Network
from privimage.generators import descent, edm, feed, sizes
from privimage.generators.config import PretrainConfig, SampleConfig
from privimage.generators.generator import Generator
from privimage.generators.pretrain import Seeded, pretrain
from privimage.generators.sampler import draw_images
from privimage.progress import silent
from privimage.recorded import Recordable, Recorded
from privimage.workers import Workers

CPU = torch.device("cpu")
SIZES, SHAPE = ("dct-mlp-192", "unet-xs", "gan-xs", "implicit-128"), (1, 16, 16)


def test_it_gives_what_runs_and_leaves_what_was_there() -> None:
    out = torch.full((3,), 5.0)
    played = Recorded(lambda x, y: out.copy_(x * y), torch.ones(3), torch.arange(3.0), into=[out])
    assert out.tolist() == [5, 5, 5]
    played(torch.full((3,), 2.0), torch.arange(3.0))
    assert out.tolist() == [0, 2, 4]


def test_inputs_of_another_shape_are_refused() -> None:
    out = torch.zeros(3)
    played = Recorded(lambda x: out.copy_(x), torch.ones(3), into=[out])
    with pytest.raises(RuntimeError, match="size"):
        played(torch.ones(4))


def test_what_is_not_played_as_it_ran_is_refused() -> None:
    """As a GPU would play a number that was read on the CPU: it stays what it was at first."""
    out, read = torch.zeros(3), []

    def run(x: Tensor) -> None:
        read.append(float(x.sum()))
        out.copy_(x * (read[0] if len(read) == 1 else 1.0 / len(read)))

    with pytest.raises(ValueError, match=r"resources\.cuda_graphs: false"):
        Recorded(run, torch.ones(3), into=[out])


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, *SHAPE), dtype=np.uint8), np.arange(40) % 3


def trained(size: str, pictures: tuple[np.ndarray, np.ndarray], *, graphs: bool) -> tuple[Generator, Tensor]:
    """A generator after six steps, and its weights."""
    generator = sizes.build(size, shape=SHAPE, n_classes=3, seed=0, graphs=graphs)
    state = pretrain(
        generator, pictures[0].__getitem__, pictures[1], weights=None, config=PretrainConfig(images=24, batch=4),
        seed=1, workers=Workers.alone(graphs=graphs), progress=silent,
    )  # fmt: skip
    generator.load_pretrained(state)
    return generator, torch.cat([tensor.flatten().float() for tensor in state.values()])


@pytest.mark.parametrize("size", first(SIZES))
def test_training_and_drawing_are_what_they_are_without(size: str, pictures: tuple[np.ndarray, np.ndarray]) -> None:
    (plain, weights), (played, others) = (trained(size, pictures, graphs=graphs) for graphs in (False, True))
    start = sizes.build(size, shape=SHAPE, n_classes=3, seed=0)
    assert any(not torch.equal(a, b) for a, b in zip(start.F.parameters(), plain.F.parameters(), strict=True))
    torch.testing.assert_close(weights, others, rtol=1e-5, atol=1e-6)
    played.load_state_dict(plain.state_dict())
    for generator in (plain, played):
        generator.keep_detail()
    config = SampleConfig(steps=3, batch=4, guidance=1.0, detail_below=1.0)  # the last batch is short
    one, other = (drawn(generator, config) for generator in (plain, played))
    assert np.abs(one - other).max() <= 1


def drawn(generator: Generator, config: SampleConfig) -> NDArray[np.int64]:
    return draw_images(generator, n=7, config=config, seed=3, device=CPU)[0].astype(np.int64)


@pytest.mark.parametrize("size", first(["dct-mlp-192", "unet-xs"]))
def test_drawing_at_another_precision_is_another_and_played_the_same(
    size: str, pictures: tuple[np.ndarray, np.ndarray]
) -> None:
    plain, played = (trained(size, pictures, graphs=graphs)[0] for graphs in (False, True))
    played.load_state_dict(plain.state_dict())
    exact = SampleConfig(steps=3, batch=4)
    half = exact.model_copy(update={"precision": "bf16"})
    of_half, of_exact = drawn(plain, half), drawn(plain, exact)
    assert (of_half != of_exact).any() and np.abs(of_half - of_exact).mean() < 8
    assert np.abs(drawn(played, half) - of_half).max() <= 1
    assert np.abs(drawn(played, exact) - of_exact).max() <= 1, "what was recorded at one is not played at the other"


class Once:
    """In the place of Recorded: runs, and compares nothing."""

    def __init__(self, run: Recordable, *inputs: Tensor, into: object) -> None:
        run(*inputs)

    def __call__(self, *inputs: Tensor) -> None: ...


def on_meta(size: str) -> None:
    """A step of training that is recorded, on the device that has no values and refuses to meet the CPU."""
    generator, training = sizes.build(size, shape=SHAPE, n_classes=3, seed=0), PretrainConfig().training
    x, rng = torch.zeros((4, *SHAPE), dtype=torch.uint8), Seeded(torch.Generator().manual_seed(0))
    batch = generator.batch(generator.codec.encode(x), torch.arange(4) % 3, training=training, rng=rng)
    generator.to("meta")
    adam = torch.optim.Adam(generator.F.parameters())
    played = descent.Descent(generator.F, adam, loss=generator.loss(training), workers=Workers.alone(graphs=True))
    played.step(batch.map(lambda t: t.to("meta")), lr=0.1)
    assert {p.grad.device.type for p in generator.F.parameters() if p.grad is not None} == {"meta"}


@pytest.mark.parametrize("size", [size for size in SIZES if size != "gan-xs"])  # autocast is not for this device
def test_nothing_of_a_step_depends_on_values(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "Recorded", Once)
    on_meta(size)


def test_what_depends_on_values_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "Recorded", Once)
    real = edm.denoise

    def of_values(F: Network, x: Tensor, sigma: Tensor, label: Tensor, *, sigma_data: float | Tensor) -> Tensor:
        return real(F, x, sigma * float(sigma[0]), label, sigma_data=sigma_data)

    monkeypatch.setattr(edm, "denoise", of_values)
    with pytest.raises((RuntimeError, NotImplementedError, TypeError), match="meta"):
        on_meta("dct-mlp-192")


def test_feeds_give_the_same_images(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    x, rng = pictures[0], np.random.default_rng(2)
    asked = [rng.integers(0, len(x), 5) for _ in range(6)]
    with ThreadPoolExecutor(1) as reader:
        feeds = (
            feed.AsAsked(x.__getitem__, device=CPU),
            feed.Resident(x.__getitem__, n=len(x), shape=SHAPE, device=CPU),
            feed.Ahead(x.__getitem__, thread=reader, device=CPU),
        )
        for images in feeds:
            for now, then in zip(asked, [*asked[2:], *asked[:2]], strict=True):  # others than were foretold come too
                assert (images(now, following=lambda then=then: then).numpy() == x[now]).all()  # type: ignore[misc]


def test_reading_ahead_moves_no_draw(pictures: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    before = trained("dct-mlp-192", pictures, graphs=False)[1]
    foretold: list[bool] = []

    @contextmanager
    def ahead(rows: feed.Reader, **of: object) -> Iterator[feed.Feed]:
        with ThreadPoolExecutor(1) as reader:
            images, last = feed.Ahead(rows, thread=reader, device=CPU), [np.zeros(0)]

            def give(index: feed.Places, *, following: Callable[[], feed.Places]) -> Tensor:
                foretold.append(np.array_equal(last[0], index))
                last[0] = following()
                return images(index, following=following)

            yield give

    monkeypatch.setattr("privimage.generators.pretrain.feed", ahead)
    assert torch.equal(trained("dct-mlp-192", pictures, graphs=False)[1], before)
    assert foretold == [False, True, True, True, True, True]
