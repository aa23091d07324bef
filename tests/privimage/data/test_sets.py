import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.data.sets import (
    Images,
    Part,
    PrivateSet,
    PublicSet,
    SensitiveData,
    check_apart,
    contents_of,
    split_by_content,
)
from privimage.errors import InputError

X = np.full((3, 1, 2, 2), 137, np.uint8)
Y = np.array([0, 1, 1])


def private(split: Part = "train") -> PrivateSet:
    return PrivateSet(x=X, y=Y, name="digits", id="digits-v1", split=split, classes=("a", "b"))


def test_public_and_private_sets_are_different_types() -> None:
    assert not issubclass(PrivateSet, PublicSet)
    assert not issubclass(PublicSet, PrivateSet)


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_a_private_set_never_shows_pixels_or_labels(show) -> None:
    for shown in (
        show(private()),
        show(SensitiveData(train=private(), validation=private("validation"), test=private("test"))),
    ):
        assert "digits-v1" in shown
        assert "137" not in shown
        assert "array" not in shown


def test_fingerprint_depends_on_pixels_and_labels() -> None:
    changed = X.copy()
    changed[2, 0, 1, 1] += 1
    others = [
        PrivateSet(x=changed, y=Y, name="n", id="i", split="train", classes=("a", "b")),
        PrivateSet(x=X, y=Y[::-1], name="n", id="i", split="train", classes=("a", "b")),
    ]
    assert len({private().fingerprint, *(other.fingerprint for other in others)}) == 3
    assert private().fingerprint == private().fingerprint


def images(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 1, 3, 3)).astype(np.uint8), rng.integers(0, 4, n)


def test_parts_are_disjoint_complete_and_about_as_large_as_asked() -> None:
    x, y = images(4000)
    parts = split_by_content(contents_of(Images(x=x, y=y)), fractions=(0.7, 0.1, 0.2), seed=3)
    assert np.sort(np.concatenate(parts)).tolist() == list(range(4000))
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5
        assert np.abs(np.bincount(y[part]) / np.bincount(y) - share).max() < 0.06, "in every class"


@given(st.integers(0, 59), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_one_example_more_or_less_changes_one_part_by_that_example(removed: int, seed: int) -> None:
    x, y = images(60)
    kept = np.delete(np.arange(60), removed)
    whole = split_by_content(contents_of(Images(x=x, y=y)), fractions=(0.6, 0.2, 0.2), seed=seed)
    less = split_by_content(contents_of(Images(x=x[kept], y=y[kept])), fractions=(0.6, 0.2, 0.2), seed=seed)
    changes = [set(a.tolist()) ^ {int(kept[i]) for i in b} for a, b in zip(whole, less, strict=True)]
    assert sorted(map(len, changes)) == [0, 0, 1] and {removed} in changes


def test_order_does_not_matter_and_copies_stay_together() -> None:
    x, y = images(50)
    x[25:], y[25:] = x[:25], y[:25]
    parts = split_by_content(contents_of(Images(x=x, y=y)), fractions=(0.5, 0.5), seed=1)
    assert all(set(part) == {(i + 25) % 50 for i in part} for part in map(np.ndarray.tolist, parts))
    turned = split_by_content(contents_of(Images(x=x[::-1], y=y[::-1])), fractions=(0.5, 0.5), seed=1)
    assert [sorted(49 - part) for part in turned] == [part.tolist() for part in parts]


def test_split_depends_on_its_seed() -> None:
    x, y = images(50)
    first, again, other = (
        split_by_content(contents_of(Images(x=x, y=y)), fractions=(0.5, 0.5), seed=seed)[0] for seed in (0, 0, 1)
    )
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_split_refuses_fractions_that_do_not_sum_to_one() -> None:
    with pytest.raises(InputError, match="sum to 1"):
        split_by_content(contents_of(Images(x=X, y=Y)), fractions=(0.5, 0.4), seed=0)


def test_a_public_set_that_holds_the_sensitive_images_is_refused() -> None:
    x, y = images(300)
    kinds = {"name": "n", "classes": tuple("abcd")}
    ends = {"train": slice(0, 200), "validation": slice(200, 250), "test": slice(250, 300)}
    parts = {split: PrivateSet(x=x[i], y=y[i], id="i", split=split, **kinds) for split, i in ends.items()}
    sensitive = SensitiveData(**parts)
    other, labels = images(400, seed=1)
    check_apart(PublicSet(x=other, y=labels, **kinds), sensitive, key="data.public")
    other[:3] = x[197:200]
    check_apart(PublicSet(x=other, y=labels, **kinds), sensitive, key="data.public")
    other[3] = x[299]
    with pytest.raises(InputError, match=r"^data\.public: more than 1% of the sensitive images are") as caught:
        check_apart(PublicSet(x=other, y=labels, **kinds), sensitive, key="data.public")
    assert "4" not in str(caught.value), "how many they are is a private number"
