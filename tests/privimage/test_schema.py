"""The one door for YAML: strict, and errors that name the key, the value and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, WithJsonSchema

from privimage.errors import InputError
from privimage.plain_yaml import read_yaml
from privimage.schema import Frozen, digest, get_dotted, parse, set_dotted


class Inner(Frozen):
    sigma: float = Field(default=1.0, gt=0)
    steps: int = 3


class Outer(Frozen):
    name: str
    inner: Inner = Inner()
    rows: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"name": "x", "inner": {"sigm": 1}},
            r"^inner\.sigm: unknown key, did you mean 'sigma'\?; allowed: sigma, steps$",
        ),
        ({"name": "x", "zzz": 1}, r"^zzz: unknown key; allowed: inner, name, rows$"),
        ({"inner": {}}, r"^name: missing"),
        ({"name": "x", "inner": {"sigma": -1}}, r"^inner\.sigma: got -1; should be greater than 0"),
        ({"name": "x", "inner": {"sigma": float("nan")}}, r"^inner\.sigma: got nan"),
        (
            {"naem": "x"},
            r"^naem: unknown key, did you mean 'name'\?; allowed: .* \(and \d more\)$",
        ),  # before what is missing
        ({"name": "x", "rows": [{}, {"stepz": 1}]}, r"^rows\.1\.stepz: unknown key, did you mean 'steps'"),
        ({"name": "x", "inner": {"sigma": -1, "steps": "many"}}, r"\(and 1 more\)$"),
        ({"name": "y" * 500, "inner": "z" * 500}, r"^inner: got 'z{50,60}\.\.\.;"),
    ],
)
def test_an_error_names_the_path_the_value_and_the_fix(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(Outer, values)


def test_where_is_put_before_the_path() -> None:
    with pytest.raises(InputError, match=r"^method\.inner\.steps: got 'x'"):
        parse(Outer, {"name": "a", "inner": {"steps": "x"}}, where="method")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().sigma = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1,\nb: }", r"x\.yaml: line \d+: not valid YAML"), ("- 1\n- 2", "expected a mapping of keys, got list")],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_a_missing_file_a_folder_and_a_binary_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bin.yaml").write_bytes(b"\xff\xfe\x00a: \x80")
    for path, message in (
        (tmp_path / "no.yaml", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "bin.yaml", "not valid"),
    ):
        with pytest.raises(InputError, match=message):
            read_yaml(path)


KEYS = st.text("abc", min_size=1, max_size=3)


@given(st.dictionaries(KEYS, st.integers(), max_size=4), st.lists(KEYS, min_size=1, max_size=3), st.integers())
@settings(max_examples=25, deadline=None)
def test_set_then_get_and_the_original_is_untouched(values: dict[str, int], path: list[str], new: int) -> None:
    before = dict(values)
    assert get_dotted(set_dotted(values, ".".join(path), new), ".".join(path)) == new
    assert values == before


def test_digits_count_in_lists_and_the_original_is_untouched() -> None:
    values: dict[str, Any] = {"rows": [{"steps": 1}, {"steps": 2}]}
    assert set_dotted(values, "rows.1.steps", 3) == {"rows": [{"steps": 1}, {"steps": 3}]}
    assert set_dotted(values, "rows.0", {}) == {"rows": [{}, {"steps": 2}]}
    assert values == {"rows": [{"steps": 1}, {"steps": 2}]}
    for dotted, says in (
        ("rows.2.steps", r"^rows\.2: got '2'; the list has the entries 0 to 1$"),
        ("rows.-1.steps", r"^rows\.-1: got '-1'; the list has the entries 0 to 1$"),
        ("rows.steps", r"^rows\.steps: got 'steps'; the list has the entries 0 to 1$"),
    ):
        with pytest.raises(InputError, match=says):
            set_dotted(values, dotted, 5)
    with pytest.raises(InputError, match=r"^rows\.0: the list is empty; give the whole of rows$"):
        set_dotted({"rows": []}, "rows.0.steps", 5)


def test_get_of_an_absent_path_is_none() -> None:
    assert get_dotted({"a": {"b": 1}}, "a.c") is None and get_dotted({"a": 1}, "a.b.c") is None


def test_digest_is_of_content_not_of_order_and_refuses_objects() -> None:
    assert digest({"b": Inner(), "a": (1, 2)}) == digest({"a": [1, 2], "b": {"steps": 3, "sigma": 1.0}})
    assert len({digest(Inner(steps=i)) for i in range(20)}) == 20
    with pytest.raises(TypeError, match="not plain data: set"):
        digest({"a": {1, 2}})


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("name: a\nmethod: {query: {sigma: 1, sigma: 2}}\n")
    with pytest.raises(InputError, match=r"line 2: not valid YAML \(the key 'sigma' stands twice\)"):
        read_yaml(file)


def test_a_field_with_marks_that_have_no_hash_is_as_strict() -> None:
    class Marked(Frozen):
        sizes: tuple[Annotated[int, WithJsonSchema({"type": "integer"})], ...] = ()

    assert Marked(sizes=(1, 2)).sizes == (1, 2)
    with pytest.raises(InputError, match="sizes: "):
        parse(Marked, {"sizes": ["1"]})
