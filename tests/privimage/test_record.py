"""Records: one whole line a trial, the composition of all, the best of some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage import lines
from privimage import record as records
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.privacy.accounting import epsilon
from privimage.privacy.budget import Budget, Event
from privimage.record import Paid, Record

QUERY, SGD = (
    Event(purpose="query", split="train", sigma=10),
    Event(purpose="dp-sgd", split="train", sigma=4, q=0.2, steps=10),
)
FREE = Event(purpose="training", split="train", sigma=0)
SHARED = Paid(id="query", what="query", events=(QUERY,))


def make(id: str, *, accuracy: float | None = None, paid: tuple[Paid, ...] = (), **changed: Any) -> Record:
    name = "accuracy[lr]"
    scores = (
        [] if accuracy is None else [Metric(name=name, value=accuracy, touches=("synthetic",), direction="max", n=9)]
    )
    values = {
        "id": id, "sweep": "s", "role": "search", "method": "privimage+d", "config": {"a": [1, None]}, "seed": 0,
        "budget": Budget(epsilon=10, delta=1e-5), "events": (QUERY, SGD), "paid": paid, "epsilon_alone": 1.5,
        "epsilon_rdp_alone": 1.7, "metrics": tuple(scores), "stages": (), "artefacts": {"samples": "k"},
        "started": "now", "seconds": 1.0, "versions": {"torch": "2"},
    }  # fmt: skip
    return Record(**(values | changed))


def test_what_is_appended_is_loaded(tmp_path: Path) -> None:
    path, both = tmp_path / "records.jsonl", [make("a", paid=(SHARED,)), make("b", epsilon_alone=None, accuracy=0.5)]
    for record in both:
        records.append(path, record)
    assert records.load(path) == both
    assert both[0].private and not both[1].private
    assert both[1].value("accuracy[lr]") == 0.5 and both[0].value("accuracy[lr]") is None


def test_the_last_record_of_an_id_counts_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    for record in (make("a", seed=1), make("b"), make("a", seed=2)):
        records.append(path, record)
    path.write_bytes(path.read_bytes() + make("c").model_dump_json().encode()[:-9])
    assert [(record.id, record.seed) for record in records.load(path)] == [("a", 2), ("b", 0)]


def test_a_record_after_a_cut_line_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records.append(path, make("a"))
    path.write_bytes(path.read_bytes() + b'{"id": "cut by a cra')
    records.append(path, make("b"))  # the sweep was started again
    assert [record.id for record in records.load(path)] == ["a", "b"]


def test_a_damaged_line_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with pytest.raises(InputError, match="no records"):
        records.load(path)
    records.append(path, make("a"))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": 1}\n')
    with pytest.raises(InputError, match=r"records\.jsonl: line 2 is damaged; run the sweep's command again"):
        records.load(path)
    path.write_bytes(whole + lines.sealed('{"id":1}'))
    with pytest.raises(InputError, match=r"records\.jsonl: line 2 is not a record of this version"):
        records.load(path)
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        records.load(tmp_path)


def test_composition_counts_every_access_once_and_all_of_them() -> None:
    both = [make(id, paid=(SHARED, Paid(id=f"sgd-{id}", what="x", events=(SGD,)))) for id in ("a", "b")]
    assert records.composition(both, delta=1e-5) == epsilon([QUERY, SGD, SGD], 1e-5)
    free = make("c", paid=(SHARED, Paid(id="free", what="x", events=(FREE,))), epsilon_alone=None)
    assert records.composition([*both, free], delta=1e-5) == epsilon([QUERY, SGD, SGD], 1e-5)
    assert records.composition([], delta=1e-5) == 0


@given(st.lists(st.none() | st.floats(0, 1), max_size=6))
@settings(max_examples=25, deadline=None)
def test_best_has_the_extreme_value(values: list[float | None]) -> None:
    all_of_them = [make(str(i), accuracy=value) for i, value in enumerate(values)]
    known = [value for value in values if value is not None]
    for direction, extreme in (("max", max), ("min", min)):
        found = records.best(all_of_them, metric="accuracy[lr]", direction=direction)  # type: ignore[arg-type]
        assert (found.value("accuracy[lr]") if found else None) == (extreme(known) if known else None)


def test_an_infinite_epsilon_is_written_as_none() -> None:
    assert records.finite(float("inf")) is None and records.finite(2.0) == 2.0
