"""Public images with several semantics each: how a file tells them, how the query learns them, what is selected."""

from __future__ import annotations

import csv
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known import entropy
from PIL import Image
from toys import SIDE, ran, sensitive_set, trial

from privimage import exhibit, semantics
from privimage.data import PublicConfig, SensitiveConfig
from privimage.data.config import HeldOutConfig
from privimage.data.held_out import hold_out
from privimage.data.keywords import Captioned, captioned, load_described, members_of, semantics_of, targets_of
from privimage.data.sets import PrivateSet, PublicSet
from privimage.errors import InputError
from privimage.privacy.budget import Event
from privimage.progress import silent
from privimage.query import SemanticsConfig
from privimage.query_training import train_query_function
from privimage.schema import parse
from privimage.semantics import QueryFunction, select
from privimage.workers import Workers

CPU = torch.device("cpu")
TEXTS = ("bee; garden", "zebra", "garden;zebra ;bee", "garden")


def texts(classes: tuple[str, ...] = TEXTS, n: int = 12) -> PublicSet:
    """Images with these labels in turns; each word of a label is a bright row of its own."""
    rng, y = np.random.default_rng(0), np.arange(n) % len(classes)
    words = sorted({word.strip() for text in classes for word in text.split(";")})
    x = rng.integers(0, 60, (n, 1, SIDE, SIDE))
    for image, text in zip(x, y, strict=True):
        for word in classes[text].split(";"):
            at = words.index(word.strip())
            image[0, (2 * at) % SIDE : (2 * at) % SIDE + 2] += 170
    return PublicSet(x=x.astype(np.uint8), y=y, name="captions", classes=classes)


def described() -> Captioned:
    return captioned(texts(), separator=";")


def words_of(public: PublicSet, i: int) -> set[str]:
    image, label = semantics_of(public)
    return {public.classes[c] for c in label[image == i]}


# ---- what a file says


def write(folder: Path, rows: list[tuple[str, str]]) -> Path:
    for name, _ in rows:
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
            folder / name
        )
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "keywords"), *rows])
    return folder / "captions.csv"


def test_a_column_of_a_csv_file_names_several_words(tmp_path: Path) -> None:
    path = write(tmp_path, [("0.png", "zebra;bee"), ("1.png", "bee"), ("2.png", "zebra; bee;")])
    values = {"name": "csv", "root": str(path), "label": "keywords", "separator": ";"}
    public = load_described(parse(PublicConfig, values), cache=tmp_path)
    assert public.classes == ("bee", "zebra") and len(public) == 3 and public.shape == (3, 8, 8)
    assert [words_of(public, i) for i in range(3)] == [{"bee", "zebra"}, {"bee"}, {"bee", "zebra"}]
    ordered = load_described(parse(PublicConfig, values | {"keywords": ["zebra", "bee"]}), cache=tmp_path)
    assert ordered.classes == ("zebra", "bee") and words_of(ordered, 1) == {"bee"}
    plain = load_described(parse(PublicConfig, {k: v for k, v in values.items() if k != "separator"}), cache=tmp_path)
    assert plain.classes == ("bee", "zebra; bee;", "zebra;bee") and not isinstance(plain, Captioned)


@pytest.mark.parametrize(
    ("rows", "values", "said"),
    [
        ([("0.png", " ; "), ("1.png", "bee")], {}, "label ' ; ': has no keyword; give its images one"),
        ([("0.png", "bee"), ("1.png", "")], {}, "line 3: a field is missing"),
        ([("0.png", "bee"), ("1.png", "bee;be")], {"keywords": ["bee"]}, "label 'bee;be': 'be' is none of the 1 keyw"),
        ([("0.png", "bee"), ("1.png", "bee;cat")], {}, r"keyword 'cat' has fewer than 2 images \(1\), too few"),
        (
            [("0.png", "bee"), ("1.png", "bee")],
            {"keywords": ["bee", "cat"]},
            r"keyword 'cat' has fewer than 2 .* \(0\)",
        ),
    ],
)
def test_a_wrong_label_is_one_line_that_names_file_and_label(
    rows: list[tuple[str, str]], values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = write(tmp_path, rows)
    config = parse(PublicConfig, {"name": "csv", "root": str(path), "label": "keywords", "separator": ";"} | values)
    with pytest.raises(InputError, match=f"^{path}: {said}") as error:
        load_described(config, cache=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"keywords": ["a"]}, "keywords: are the words between separators"),
        ({"separator": ";", "limit_classes": 3}, "limit_classes: with a separator"),
        ({"separator": ";", "classes": ["a", "b"]}, "classes: with a separator"),
        ({"separator": ";", "keywords": ["a", "a"]}, "entry 1 stands there already"),
        ({"separator": ""}, "separator: got ''"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(PublicConfig, {"name": "csv", "root": "a.csv", "label": "keywords"} | values)


def test_an_image_of_a_sensitive_set_has_one_label() -> None:
    values = {"name": "csv", "root": "a.csv", "id": "x", "channels": 1, "size": 8, "classes": ["a"], "separator": ";"}
    with pytest.raises(InputError, match="separator: unknown key"):
        parse(SensitiveConfig, values)


def test_a_public_set_that_says_nothing_of_words_is_described_as_before() -> None:
    plain = parse(PublicConfig, {"name": "folder", "root": "a"})
    assert not {"separator", "keywords"} & plain.identity.keys()
    assert parse(PublicConfig, {"name": "folder", "root": "a", "separator": ";"}).identity["separator"] == ";"


def test_other_words_are_another_set_and_a_copy_is_the_same() -> None:
    one, other = described(), captioned(texts(("bee; garden", "zebra", "garden;zebra", "garden")), separator=";")
    assert (one.x == other.x).mean() > 0.9 and one.fingerprint != replace(other, x=one.x).fingerprint
    copy = pickle.loads(pickle.dumps(one))
    assert copy.fingerprint == one.fingerprint and np.array_equal(copy.pairs[1], one.pairs[1])


def test_images_of_several_words_cannot_be_held_out() -> None:
    with pytest.raises(InputError, match="several keywords, so none can be held out"):
        hold_out(described(), HeldOutConfig(labels=1))


# ---- semantics


@pytest.mark.parametrize("public", [texts(), described()])
def test_members_and_pairs_tell_the_same(public: PublicSet) -> None:
    image, label = semantics_of(public)
    assert (np.diff(image) >= 0).all() and set(image) == set(range(12))
    for c, images in enumerate(members_of(public)):
        assert images.tolist() == [i for i in range(12) if public.classes[c] in words_of(public, i)] == sorted(images)
        assert images.tolist() == image[label == c].tolist()


def test_targets_are_classes_or_shares_of_the_words() -> None:
    index = np.array([2, 1, 2])
    assert targets_of(texts(), index).tolist() == [2, 1, 2]
    np.testing.assert_allclose(
        targets_of(described(), index), [[1 / 3, 1 / 3, 1 / 3], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]]
    )


def test_the_query_learns_all_words_of_an_image() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    pairs = tuple(f"{one};{other}" for i, one in enumerate(names) for other in names[i + 1 :])
    public = captioned(texts(pairs, n=90), separator=";")
    config = SemanticsConfig(steps=60, batch=45, augment=False)
    state = train_query_function(public, config=config, seed=0, workers=Workers.alone(), progress=silent)
    function = QueryFunction.load(state, channels=1, n_classes=6, device=CPU)
    top = function.of(public.rows(np.arange(90)), k1=2)
    right = [{public.classes[c] for c in row} == words_of(public, i) for i, row in enumerate(top)]
    assert np.mean(right) > 0.9  # by chance 1 / 15


# ---- asking (rule 1 for several semantics)


def asked(function: QueryFunction, images: PrivateSet, k1: int, number: int = 1, sigma: float = 7.0) -> np.ndarray:
    event = Event(purpose="query", split="train", sigma=sigma)
    return semantics.ask(function, images, k1=k1, event=event, entropy=entropy(number)).value


@pytest.mark.thorough
def test_an_image_names_k1_words_and_moves_the_answer_by_sqrt_k1_under_noise_of_that_size() -> None:
    public, train = described(), sensitive_set().train
    config = SemanticsConfig(steps=3, batch=12)
    state = train_query_function(public, config=config, seed=0, workers=Workers.alone(), progress=silent)
    function = QueryFunction.load(state, channels=1, n_classes=3, device=CPU)
    for k1 in (1, 2):
        S = function.counts(train, k1=k1, labels=3)
        less = function.counts(replace(train, x=train.x[1:], y=train.y[1:]), k1=k1, labels=3)
        assert S.sum() == k1 * len(train) and np.linalg.norm(S - less) == pytest.approx(k1**0.5)
        assert set((S - less).ravel()) <= {0, 1}, "every word once"
        noise = np.stack([asked(function, train, k1, number) - S for number in range(120)])
        assert noise.std() == pytest.approx(7 * k1**0.5, rel=0.06), "over the whole matrix"


# ---- selection


def test_an_image_is_taken_by_any_of_its_words_and_once_for_a_label() -> None:
    public = described()  # bee, garden, zebra; images 0: bee garden, 1: zebra, 2: all, 3: garden, and again
    S = np.array([[30.0, 10.0, 0.0], [0.0, 1.0, 20.0]])
    chosen = select(S, replace(public), k2=1)
    assert chosen.classes.tolist() == [[0], [2]]
    of = {y: sorted(chosen.index[chosen.label == y].tolist()) for y in (0, 1)}
    assert of == {0: [0, 2, 4, 6, 8, 10], 1: [1, 2, 5, 6, 9, 10]}, "2, 6 and 10 serve both labels"
    one = select(S[:1], public, k2=2)
    assert one.index.tolist() == [i for i in range(12) if i % 4 != 1] and len(set(one.index.tolist())) == 9
    assert one.weight.sum() == pytest.approx(1)
    both, bee, garden = one.weight[one.index == 0], 0.75 / 6, 0.25 / 9
    assert both == pytest.approx(bee + garden) and one.weight[one.index == 3] == pytest.approx(garden)


def test_what_is_shown_of_a_word_is_an_image_that_has_it() -> None:
    public = described()
    S = np.array([[30.0, 10.0, 20.0]])
    chosen = select(S, public, k2=3)
    arrays = exhibit.arrays_of(chosen, S, public)
    assert chosen.classes.tolist() == [[0, 1, 2]] or arrays["counts"].tolist() == [[30, 20, 10]]
    for c, example in zip(chosen.classes[0], arrays["examples"][0], strict=True):
        np.testing.assert_array_equal(example, public.rows(members_of(public)[c][:1])[0])


@pytest.mark.parametrize("method", ["privimage+d", "unselected-images", "privimage+qm"])
def test_a_trial_on_a_captioned_set(method: str, tmp_path: Path) -> None:
    names = "abcdefgh"
    pairs = tuple(f"{one};{other}" for i, one in enumerate(names) for other in names[i + 1 :])
    public = captioned(texts(pairs, n=112), separator=";")
    what = trial(method__name=method, method__query__k1=3, method__select__ratio=0.4, asked=2)
    record, _ = ran(tmp_path, what, public=public, sensitive=sensitive_set())
    assert record.metrics and any(event.purpose == "query" for paid in record.paid for event in paid.events)
