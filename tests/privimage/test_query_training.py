"""The networks of the query function, how they are trained, and how sensitive images are counted by them."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import first
from toys import CLASSES, LABELS, SIDE, pictures, private_set, public_set

from privimage import checkpoint as kept
from privimage import query_network as module
from privimage import query_training
from privimage.checkpoint import NO_CHECKPOINT, Checkpoint
from privimage.data import placed
from privimage.data.augment import mirrored
from privimage.data.sets import PublicSet
from privimage.histogram import query_function
from privimage.methods.resolve import resolve
from privimage.progress import Tell, silent
from privimage.query import SemanticsConfig
from privimage.query_network import Residual, Small, query_network
from privimage.query_training import train_query_function
from privimage.semantics import QueryFunction
from privimage.stores.file import FileStore
from privimage.workers import Workers

CPU = torch.device("cpu")
RESNET = SemanticsConfig(network="resnet18", steps=3, batch=8, lr=0.01, augment="mirror")


def trained(
    config: SemanticsConfig,
    *,
    public: PublicSet | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    progress: Tell = silent,
    workers: Workers | None = None,
) -> dict[str, torch.Tensor]:
    return train_query_function(
        public or public_set(),
        config=config,
        seed=0,
        workers=workers or Workers.alone(),
        progress=progress,
        checkpoint=checkpoint,
    )


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def function_of(network: Any, state: dict[str, torch.Tensor]) -> QueryFunction:
    return QueryFunction.load(state, network=network, channels=1, n_classes=CLASSES, device=CPU)


# ---- networks


def test_the_residual_network_is_that_of_the_paper_at_32_pixels() -> None:
    """torchvision's but for its stem: 23.5 million weights and a classifier; 4 x 4 cells are left of 32 pixels."""
    net = query_network("resnet50", channels=3, n_classes=1000)
    assert isinstance(net, Residual) and net.side == 32
    assert sum(p.numel() for p in net.parameters()) == 23_500_352 + 2048 * 1000 + 1000
    assert net.net.conv1.weight.shape == (64, 3, 3, 3) and net.net.conv1.stride == (1, 1)
    with torch.no_grad():
        assert [f.shape[2] for f in net.eval()._stages(torch.rand(1, 3, 32, 32))] == [32, 16, 8, 4]


def test_a_residual_network_sees_grey_and_any_size_as_it_would_see_the_same_in_colour_at_32() -> None:
    net = query_network("resnet18", channels=1, n_classes=5).eval()
    assert isinstance(net, Residual)
    small = torch.rand(2, 1, 28, 28)
    seen = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert torch.equal(net(small), net(seen.expand(-1, 3, -1, -1)))
        torch.testing.assert_close(net.net((seen.expand(-1, 3, -1, -1) - 0.5) / 0.5), net(small))
        assert torch.allclose(net.net.fc(net.seen(small)), net(small), atol=1e-5)
        assert [f.shape[1] for f in net.layers(small)] == [16 * c for c in (64, 128, 256, 512)]


def test_the_small_network_has_the_names_that_stored_ones_have() -> None:
    net = query_network(channels=1, n_classes=4).eval()
    assert isinstance(net, Small) and {name.split(".")[0] for name in net.state_dict()} == set("013467") | {
        str(i) for i in (11, 12, 14)
    }
    with torch.no_grad():
        x = torch.rand(3, 1, 16, 16)
        assert torch.equal(net[-1](net.seen(x)), net(x)) and torch.equal(net.layers(x)[-1], net.seen(x))


# ---- training


@pytest.fixture
def eight_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Residual networks see fewer pixels, so that they are trained in a moment."""
    monkeypatch.setattr(module, "SIDE", 8)


@pytest.mark.usefixtures("eight_pixels")
@pytest.mark.parametrize("config", first([SemanticsConfig(steps=4, batch=8), RESNET]))
def test_a_killed_training_goes_on_to_the_same_bits(
    config: SemanticsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "SECONDS", 0.0)
    monkeypatch.setattr(kept, "SHARE", float("inf"))
    place = Checkpoint(store=FileStore(tmp_path), name="query-function")
    steps: list[int] = []

    def killer(done: int, total: int) -> None:
        steps.append(done)
        if steps == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(config, checkpoint=place, progress=killer)
    after = trained(config, checkpoint=place, progress=killer)
    assert steps == [1, 2, *range(3, config.steps + 1)], "what was done is not done again"
    assert equal(after, trained(config))


def test_the_stage_keeps_a_checkpoint_and_forgets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toys import sensitive_set, stages_at, trial

    from privimage.run_trial import context_of

    monkeypatch.setattr(kept, "SECONDS", 0.0)
    monkeypatch.setattr(kept, "SHARE", float("inf"))
    stages, seen = stages_at(tmp_path), list[int]()
    context = context_of(trial(), public=public_set(), sensitive=sensitive_set(), stages=stages)
    real = Checkpoint.save

    def counted(self: Checkpoint, step: int, parts: Any) -> None:
        real(self, step, parts)
        seen.append(len(list((stages.store.root / "internal").iterdir())))

    monkeypatch.setattr(Checkpoint, "save", counted)
    query_function(context.public, query=context.config.query, inputs=context.inputs, stages=stages)
    assert seen == [1, 1, 1] and not list((stages.store.root / "internal").iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("eight_pixels")
def test_a_residual_network_learns_the_classes() -> None:
    rng, y = np.random.default_rng(0), np.arange(30) % 3
    x = rng.integers(0, 60, (30, 1, SIDE, SIDE))
    for image, c in zip(x, y, strict=True):
        image[0, 5 * c : 5 * c + 5] += 150
    public = PublicSet(x=x.astype(np.uint8), y=y, name="three", classes=LABELS)
    config = SemanticsConfig(network="resnet18", steps=25, batch=15, lr=0.02, augment=False)
    state = trained(config, public=public)
    function = QueryFunction.load(state, network="resnet18", channels=1, n_classes=3, device=CPU)
    assert (function.of(public.rows(np.arange(30)), k1=1)[:, 0] == y).mean() > 0.8


@pytest.mark.usefixtures("eight_pixels")
def test_a_set_is_read_a_batch_at_a_time() -> None:
    asked: list[int] = []

    class Far:
        def rows(self, index: np.ndarray) -> np.ndarray:
            asked.append(len(index))
            return pictures(96, CLASSES, seed=4)[0][index]

    public = replace(public_set(), x=Far())
    assert equal(trained(RESNET, public=public), trained(RESNET))
    assert max(asked) == RESNET.batch


@pytest.mark.usefixtures("eight_pixels")
@pytest.mark.thorough
def test_parts_of_a_batch_add_up_and_are_dealt_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers in two threads, with a part each: replicas are equal, and as those of one worker."""
    monkeypatch.setattr(query_training, "PART", 4)
    config = RESNET.model_copy(update={"steps": 2})
    one = trained(config)
    barrier, sent, found = threading.Barrier(2), dict[int, list[torch.Tensor]](), dict[int, dict[str, torch.Tensor]]()

    class Two(Workers):
        def all_reduce(self, tensors: list[torch.Tensor]) -> None:
            sent[self.rank] = [t.clone() for t in tensors]
            barrier.wait(60)
            for i, t in enumerate(tensors):
                t.copy_(sent[0][i] + sent[1][i])
            barrier.wait(60)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = query_network("resnet18", channels=1, n_classes=CLASSES)  # by torch's own state, which threads share
    monkeypatch.setattr(query_training, "query_network", lambda *args, **rest: copy.deepcopy(start))

    def work(rank: int) -> None:
        found[rank] = trained(config, workers=Two(rank=rank, size=2, device=CPU))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one["net.bn1.num_batches_tracked"] == 4 and found[0]["net.bn1.num_batches_tracked"] == 2
    for name in (name for name in one if "running" not in name and "num_batches" not in name):
        assert torch.equal(found[0][name], found[1][name]) and torch.equal(found[0][name], one[name]), name


@pytest.mark.slow
@pytest.mark.usefixtures("eight_pixels")
def test_bf16_is_near_and_weights_stay_float32() -> None:
    low, high = (trained(RESNET.model_copy(update={"precision": p, "steps": 2})) for p in ("bf16", "fp32"))
    assert all(t.dtype in (torch.float32, torch.int64) for t in low.values()) and not equal(low, high)
    torch.testing.assert_close(low["net.fc.weight"], high["net.fc.weight"], rtol=0, atol=0.02)


def test_mirrored_turns_about_half_of_the_images_round() -> None:
    x = torch.rand(200, 1, 4, 6)
    turned = mirrored(x, rng=torch.Generator().manual_seed(1))
    back = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(turned, x, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(turned, x, strict=True)])
    assert torch.equal(back, ~same) and 60 < back.sum() < 140


# ---- keys


def test_what_is_as_before_is_in_no_key_and_what_is_not_is() -> None:
    def question(**function: Any) -> str:
        config = resolve({"name": "privimage+d", "query": {"function": function}})
        fields = {k: v for k, v in config.model_dump()["query"]["function"].items()}
        named = config.member.declaration.stages[0].of({f"query.function.{k}": v for k, v in fields.items()})
        assert {"query.function.steps", "query.function.augment"} <= named.keys()
        return repr(sorted(named))

    assert "network" not in question() and "precision" not in question()
    assert "network" in question(network="resnet50") and "precision" in question(precision="bf16")


# ---- counting


def plain(function: QueryFunction, x: np.ndarray, y: np.ndarray, k1: int) -> np.ndarray:
    """The histogram by its definition, of all logits at once."""
    with torch.no_grad():
        logits = function.net(torch.from_numpy(x).float() / 255).numpy()
    S = np.zeros((len(LABELS), function.n_classes), np.int64)
    for label, row in zip(y, np.argsort(-logits, axis=1, kind="stable")[:, :k1], strict=True):
        S[label, row] += 1
    return S


@pytest.mark.parametrize("n", [0, 1, 7, 40])
@pytest.mark.parametrize("k1", [1, 5])
def test_one_pass_by_blocks_counts_as_the_plain_one(
    query_state: dict[str, Any], n: int, k1: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placed, "ROWS", 7)
    function, whole = function_of("cnn", query_state), private_set(40, seed=1)
    images = replace(whole, x=whole.x[:n], y=whole.y[:n])
    S = function.counts(images, k1=k1, labels=len(LABELS))
    assert S.dtype == np.int64 and S.sum() == n * k1
    np.testing.assert_array_equal(S, plain(function, images.rows(np.arange(n)), images.y, k1))


def test_no_more_than_a_block_is_read_or_held(query_state: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand classes of many images: what is held of them are whole numbers [labels, classes]."""
    monkeypatch.setattr(placed, "ROWS", 10)
    made, asked = list[int](), list[int]()

    class Far:
        def rows(self, index: np.ndarray) -> np.ndarray:
            asked.append(len(index))
            return np.broadcast_to(index.astype(np.uint8)[:, None, None, None], (len(index), 1, SIDE, SIDE))

    class Wide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.rand(1000))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made.append(len(x))
            return self.w.expand(len(x), -1)

    function = QueryFunction(net=Wide(), n_classes=1000)  # type: ignore[arg-type]
    images = replace(private_set(40, seed=1), x=Far(), y=np.arange(95) % 3)
    S = function.counts(images, k1=50, labels=3)
    assert S.shape == (3, 1000) and S.sum() == 95 * 50 and set(S[S > 0].tolist()) <= {31, 32}
    assert set(made) == {10} and max(asked) <= 256  # digests are made of blocks of these
