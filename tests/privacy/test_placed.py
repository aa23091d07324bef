"""What an image adds to an answer follows from that image alone, however a device rounds in one row or another.

Here a row is all that decides: networks see nothing but the row in which an image stands, and the size of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import toys
from known import entropy
from quick import these
from torch import Tensor, nn

from privimage import semantics
from privimage.data.placed import ROWS, Placed, placed
from privimage.data.sets import Images, PrivateSet
from privimage.evolution import votes
from privimage.matching import kernel
from privimage.matching.central import LowPass
from privimage.matching.features import Fourier, phi_of
from privimage.matching.ntk import Ntk
from privimage.means import answer
from privimage.means.embedding import whiten
from privimage.means.features import extractor, low_frequencies
from privimage.metrics import classifiers
from privimage.metrics.dp_score import dp_accuracy
from privimage.privacy.budget import Event
from privimage.query_training import floats
from privimage.semantics import QueryFunction

N, LABELS, CLASSES = 3 * ROWS, 3, 7
TINY = 1e-9  # noise that rounds to nothing
Answer = Callable[[PrivateSet], np.ndarray]
SKLEARN, CNN = classifiers._sklearn, classifiers._train_cnn  # as they are outside of these tests


def images(split: Any = "train") -> PrivateSet:
    """Of some there are copies, of one with another label. Classifiers are right about all others."""
    of, y = toys.private_set(N, seed=1), np.empty(N, np.int64)
    x = of.rows(np.arange(N))
    x[N // 2 : N // 2 + 9] = x[:9]
    for batch in placed(Images(x=x, y=y)):
        y[batch.index] = rows(batch.x)[batch.row] % LABELS
    y[N // 2] = (y[0] + 1) % LABELS
    return replace(of, x=x, y=y, split=split)


def rows(x: Any) -> np.ndarray:
    """What every image is taken for."""
    return (np.arange(len(x)) + len(x)) % CLASSES


class ByRow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(torch.from_numpy(rows(x)), CLASSES).float()


class Phi:
    d, device = CLASSES, torch.device("cpu")

    def __call__(self, x: Any) -> Any:
        return ByRow()(x)


def event(**given: Any) -> Event:
    return Event(**({"purpose": "query", "split": "train", "sigma": TINY} | given))


def histogram(of: PrivateSet) -> np.ndarray:
    function = QueryFunction(net=ByRow(), n_classes=CLASSES)  # type: ignore[arg-type]
    return semantics.ask(function, of, k1=1, event=event(), entropy=entropy(1)).value


def means(of: PrivateSet) -> np.ndarray:
    phi = lambda x: Phi()(x).numpy()  # noqa: E731
    asked = answer.ask(phi, of, d=CLASSES, event=event(), entropy=entropy(1), unit=2**20)
    return asked.value / 2**20


def vote(of: PrivateSet) -> np.ndarray:
    candidates = np.eye(CLASSES, dtype=np.float32)[None]
    see = lambda x: Phi()(x).numpy()  # noqa: E731
    said = event(steps=1)
    release = votes.ask(
        see, of, lambda number, before: candidates, event=said, entropy=entropy(1), progress=lambda done, total: None
    )
    return release.value[0]


def kernel_step(of: PrivateSet) -> np.ndarray:
    phi: Any = Phi()
    batch = np.flatnonzero(of.x[:, 0, 0, 0] % 2 == 0)  # type: ignore[call-overload, index]
    asked = kernel.asked(phi, of, batch, event=event(), entropy=entropy(1), step=0)
    return asked.value / kernel.UNIT


def score(classifier: str) -> Answer:
    """Labels of what a classifier says of rows; it is right where the label is that."""

    def asked(of: PrivateSet) -> np.ndarray:
        made, of = toys.pictures(30, 3, seed=9), replace(of, split="validation")
        found = dp_accuracy(
            *made, classifier=classifier, validation=of, entropy=entropy(1),
            event=event(purpose="score", split="validation"),
        )  # fmt: skip
        return np.array([found.value * len(of)])

    return asked


class Fitted:
    def fit(self, x: Any, y: Any) -> Fitted:
        return self

    def predict(self, x: Any) -> np.ndarray:
        return rows(x) % LABELS


@pytest.fixture(autouse=True)
def classifiers_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class Labels(ByRow):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(torch.from_numpy(rows(x) % LABELS), LABELS).float()

    monkeypatch.setattr(classifiers, "_sklearn", lambda classifier, seed: Fitted())
    monkeypatch.setattr(classifiers, "_train_cnn", lambda *args, **rest: Labels())


ANSWERS: dict[str, tuple[Any, Answer]] = {
    "histogram": (semantics, histogram),
    "means": (answer, means),
    "votes": (votes, vote),
    "kernel": (kernel, kernel_step),
    "score of lr": (classifiers, score("lr")),
    "score of cnn": (classifiers, score("cnn")),
}


def an_image_changes_what_it_adds(asked: Answer) -> None:
    whole = images()
    S = asked(whole)
    for i in (0, 1, N // 2, N // 2 + 1, N - 1):  # two of them have copies
        keep = np.arange(N) != i
        left = asked(replace(whole, x=whole.rows(np.flatnonzero(keep)), y=whole.y[keep]))
        assert np.linalg.norm(S - left) <= 1 + 1e-6
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(asked(replace(whole, x=whole.rows(order), y=whole.y[order])), S, atol=1e-6)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_image_changes_what_it_adds_and_nothing_else(name: str) -> None:
    an_image_changes_what_it_adds(ANSWERS[name][1])


# ---- planted faults


def in_order(of: Images) -> Iterator[Placed]:
    """As they come, filled up."""
    for start in range(0, len(of), ROWS):
        index = np.arange(start, min(start + ROWS, len(of)))
        x = np.zeros((ROWS, *of.shape), np.uint8)
        x[: len(index)] = of.rows(index)
        yield Placed(x=x, index=index, row=index - start)


def not_filled(of: Images) -> Iterator[Placed]:
    """By their pixels, but in a batch that is as large as there are images."""
    size = len(of)
    for batch in placed(of):
        yield Placed(x=batch.x[: max(batch.row) + 1 + size % 2], index=batch.index, row=batch.row)


@pytest.mark.parametrize("fault", [in_order, not_filled])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_fault_is_seen(name: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, asked = ANSWERS[name]
    monkeypatch.setattr(module, "placed", fault)
    with pytest.raises(AssertionError):
        an_image_changes_what_it_adds(asked)


# ---- what that rests on: a row is rounded by what it holds and where it is, whatever stands in the others


X = np.random.default_rng(0).integers(0, 256, (ROWS, 1, toys.SIDE, toys.SIDE), dtype=np.uint8)
CPU, SHAPE = torch.device("cpu"), (1, toys.SIDE, toys.SIDE)
See = Callable[[np.ndarray], np.ndarray]  # images [ROWS, C, H, W] -> what each is taken for [ROWS, D]


def query() -> QueryFunction:
    return toys.query_function(toys.query_weights(toys.public_set()))


def logits() -> See:
    function = query()

    def of(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function.net(floats(x, CPU)).numpy()

    return of


def whitened() -> See:
    f = np.random.default_rng(1).normal(size=(600, 256)).astype(np.float32)
    z = whiten(f, np.arange(600) % 200, d=128)
    return lambda x: z(np.resize(x.reshape(ROWS, -1), (ROWS, 256)).astype(np.float32))


def voted() -> See:
    seen = extractor(query(), device=CPU)
    candidates = np.random.default_rng(2).normal(size=(100 * LABELS, seen(X)[0].shape[1])).astype(np.float32)
    return lambda x: np.square(candidates).sum(axis=1) - 2 * seen(x)[0] @ candidates.T


def fourier() -> See:
    features = Fourier(Fourier.drawn(features=1000, length=0.37, shape=SHAPE), device=CPU)
    return lambda x: phi_of(x, features, device=CPU)


def network(function: QueryFunction | None) -> See:
    see = extractor(function, device=CPU)
    return lambda x: see(x)[0]


def classifier(name: str) -> See:
    x, y = toys.pictures(60, LABELS, seed=9)
    model = SKLEARN(name, 0).fit(x.reshape(len(x), -1).astype(np.float32) / 255, y).model
    return lambda x: model.predict_proba(x.reshape(len(x), -1).astype(np.float32) / 255)


def cnn() -> See:
    net = CNN(*toys.pictures(60, LABELS, seed=9), n_classes=LABELS, device=CPU, seed=0)

    def of(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(x).float() / 255).numpy()

    return of


def ntk() -> See:
    features = Ntk(Ntk.drawn(width=30, shape=SHAPE), device=CPU)
    return lambda x: phi_of(x, features, device=CPU)


REAL: dict[str, Callable[[], See]] = {
    "classes": logits,
    "whitened": whitened,
    "query": lambda: network(query()),
    "efficientnet-lite0": lambda: network(None),
    "low frequencies": lambda: low_frequencies,
    "fourier": fourier,
    "ntk": ntk,
    "central": lambda: partial(phi_of, features=LowPass(shape=SHAPE, clip=0.9, device=CPU), device=CPU),
    "votes": voted,
    "lr": lambda: classifier("lr"),
    "mlp": lambda: classifier("mlp"),
    "cnn": cnn,
}


def a_row_is_its_own(f: See) -> None:
    whole, rng = f(X), np.random.default_rng(3)
    for r in (0, 1, ROWS // 2, ROWS - 1):
        for others in (np.zeros_like(X), rng.permutation(X), rng.integers(0, 256, X.shape, dtype=np.uint8)):
            others[r] = X[r]
            np.testing.assert_array_equal(f(others)[r], whole[r])


@pytest.mark.parametrize("name", these(["classes", "whitened"], REAL))
def test_a_row_is_computed_as_if_others_were_blank(name: str) -> None:
    a_row_is_its_own(REAL[name]())


def test_it_is_seen_if_rows_meet() -> None:
    """Batch normalisation in training, say, or a scale of the whole batch."""
    of = logits()
    with pytest.raises(AssertionError):
        a_row_is_its_own(lambda x: of(x) / np.abs(of(x)).max())


# ---- where they stand


def test_every_image_stands_once_in_the_row_that_its_pixels_say() -> None:
    of, seen, where = images(), np.zeros(N, np.int64), dict[bytes, int]()
    for batch in placed(of):
        assert batch.x.shape == (ROWS, *of.shape)
        np.testing.assert_array_equal(batch.x[batch.row], of.rows(batch.index))
        seen[batch.index] += 1
        for image, row in zip(of.rows(batch.index), batch.row.tolist(), strict=True):
            assert where.setdefault(image.tobytes(), row) == row
        rest = np.setdiff1d(np.arange(ROWS), batch.row)
        assert not batch.x[rest].any()
    assert (seen == 1).all() and len(where) == N - 9
    assert len(set(where.values())) > ROWS / 2


def test_a_batch_is_read_from_about_one_place() -> None:
    """Not every set is in memory."""
    x = np.random.default_rng(0).integers(0, 256, (20_000, 1, 4, 4), dtype=np.uint8)
    apart = [np.ptp(batch.index) for batch in placed(Images(x=x, y=np.zeros(len(x), np.int64)))]
    assert np.median(apart) < len(x) / 2, "by their pixels it would be all of it"


def test_a_set_of_copies_is_one_image() -> None:
    of = Images(x=np.full((1000, 1, 4, 4), 7, np.uint8), y=np.zeros(1000, np.int64))
    (batch,) = placed(of)
    assert len(batch.index) == 1000 and len(set(batch.row.tolist())) == 1
    assert list(placed(Images(x=of.x[:0], y=of.y[:0]))) == []  # type: ignore[index]


def test_no_more_batches_than_a_full_row_needs() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5000, 1, 4, 4), dtype=np.uint8)
    batches = list(placed(Images(x=x, y=np.zeros(len(x), np.int64))))
    counts = np.bincount(np.concatenate([batch.row for batch in batches]), minlength=ROWS)
    assert len(batches) == counts.max() < 1.6 * len(x) / ROWS
