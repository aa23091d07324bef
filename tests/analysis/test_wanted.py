from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privimage.analysis import wanted
from privimage.errors import InputError

NAMES = ("cat", "dog", "a=5", "2")


@pytest.mark.parametrize(
    ("asked", "n", "found"),
    [
        ([], None, {0: 250, 1: 250, 2: 250, 3: 250}),
        ([], 6, {0: 2, 1: 2, 2: 1, 3: 1}),
        (["dog"], 5, {1: 5}),
        (["dog=7", "0=2"], None, {0: 2, 1: 7}),
        (["dog=50%", "cat=50%"], 3, {0: 2, 1: 1}),
        (["2"], 4, {3: 4}),  # the class of that name, not the number
        (["a=5=7"], None, {2: 7}),
        (["dog=0", "cat=1"], None, {0: 1}),
        ([1, 0], 3, {0: 2, 1: 1}),
        (["a=5"], 3, {2: 3}),  # the class of that name, not five of a
        ([2], 4, {2: 4}),  # the number, not the class of that name
        ([np.int64(2), "2"], 4, {2: 2, 3: 2}),
        ({2: 5, "2": 1}, None, {2: 5, 3: 1}),
        ({"a=5": 7, 0: 2, "dog": 0}, None, {0: 2, 2: 7}),
        ({"dog": np.int64(3)}, 3, {1: 3}),
        ({}, 2, {0: 1, 1: 1}),
    ],
)
def test_what_is_asked_is_drawn(asked: wanted.Labels, n: int | None, found: dict[int, int]) -> None:
    assert wanted.counts(asked, n=n, classes=NAMES) == found


@pytest.mark.parametrize(
    ("asked", "n", "says"),
    [
        (["cta"], None, "got 'cta'; the labels are 0 to 3; the nearest names are cat"),
        (["4"], None, "the labels are 0 to 3"),
        (["-1=5"], None, "got '-1'"),
        (["cat=" + "9" * 12], None, "at most 10000000 in all"),
        (["cat=" + "9" * 5000], None, "got 'cat=999"),
        (["cat=x"], None, "got 'cat=x'"),
        (["cat=0"], None, "these are 0 images; at least 1"),
        (["cat", "0"], None, "twice"),
        (["cat", "dog=5"], None, "give all of them alone"),
        (["cat=10%"], None, "sum to 10%"),
        (["cat=1"], 2, "these are 1 image; n is 2"),
        ([], 0, "n: got 0"),
        ({"cat": 1.5}, None, "label cat: got 1.5; expected a whole number from 0 to 10000000"),
        ({"cat": True}, None, "label cat: got True"),
        ({"cat": -1}, None, "label cat: got -1"),
        ({"cat": "50%"}, None, "label cat: got '50%'"),
        ([4], None, "got '4'; the labels are 0 to 3"),
        ([-1], None, "got '-1'; the labels are 0 to 3"),
        ({True: 1}, None, "got 'True'; the labels are 0 to 3"),
        ({"cat": 1, 0: 2}, None, "got '0' twice"),
        ({"cat": 1}, 2, "these are 1 image; n is 2"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(asked: wanted.Labels, n: int | None, says: str) -> None:
    with pytest.raises(InputError, match=r"^(label|n)\b") as caught:
        wanted.counts(asked, n=n, classes=NAMES)
    assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 200))
def test_shares_are_met_within_one_image(parts: list[int], n: int) -> None:
    shares = {label: float(part) for label, part in enumerate(parts)}
    found = wanted._shared(shares, n)
    assert sum(found.values()) == n
    assert all(abs(found.get(label, 0) - n * part / sum(parts)) < 1 + 1e-6 for label, part in shares.items())
    assert np.bincount(wanted.order(found), minlength=len(parts)).tolist() == [found.get(i, 0) for i in shares]
