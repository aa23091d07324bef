"""YAML 1.2 core: numbers are numbers, words are words, and what is written is read back as itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage.errors import InputError
from privimage.plain_yaml import MOST_DEPTH, read_value, to_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1e0", 1.0), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("-0.0", -0.0), ("+1", 1),
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("1:30", "1:30"), ("1_000", "1_000"), ("0b11", "0b11"),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("True", True), ("FALSE", False),
        ("null", None), ("~", None), ("", None), ("2020-01-01", "2020-01-01"), ("'10'", "10"), ("<<", "<<"),
        ("{no: 1, 1: 2}", {"no": 1, "1": 2}), ("[&a [x], *a]", [["x"], ["x"]]),
    ],
)  # fmt: skip
def test_the_core_schema(text: str, value: Any) -> None:
    found = read_value(text, where="x")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1e400", "not a finite number"), (".inf", "not a finite"), (".nan", "not a finite"),
        ("1e-400", "not a finite"),
        ("1" + "0" * 5000, "too large"), (str(2**63), "too large"), ("!!float 1", "tag"), ("!x 1", "tag"),
        ("!!python/object:os.system {}", "tag"), ("&a [*a]", "stands within itself"), ("*a", "undefined alias"),
        ("{a: 1, a: 2}", "stands twice"), ("a: 1\nb: 2\na: 3", "line 3: not valid YAML (the key 'a' stands twice"),
        ("a: 1  # old:\x85b: 2", "line 1: U+0085 ends a line"), ("a: 1\nb: x\u2028c: 2", "line 2: U+2028 ends a line"),
        ("{[a]: 1}", "a key is text"), ("[" * 50, f"deeper than {MOST_DEPTH}"),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [" + "*a," * 99 + "]\nc: [" + "*b," * 99 + "]", "more than 10000 keys"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_one_short_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=r"^x:") as caught:
        read_value(text, where="x")
    assert says in str(caught.value) and len(str(caught.value)) < 300 and str(caught.value).isprintable()


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
WORDS = st.sampled_from("1e3 0o7 no on 010 1:30 1_0 .5 <<".split()) | st.text(max_size=8)


@given(
    st.dictionaries(
        WORDS,
        st.recursive(
            SCALARS | WORDS, lambda x: st.lists(x, max_size=3) | st.dictionaries(WORDS, x, max_size=3), max_leaves=8
        ),
        max_size=4,
    )
)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back_as_itself(values: dict[str, Any]) -> None:
    found = read_value(to_yaml(values), where="x")
    assert found == values and repr(found) == repr(values)
