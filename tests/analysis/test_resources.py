import csv
import io

import pytest

from privimage.analysis import resources, table
from privimage.errors import InputError
from privimage.privacy.accounting.law import Law
from privimage.record import StageRecord


def stage(name, origin, seconds, peak):
    return StageRecord(name=name, origin=origin, seconds=seconds, peak_mib=peak)


@pytest.fixture
def shared(make_record):
    """Two seeds of one row: the first has made the query function for both; each has trained a model."""
    first = make_record(
        "a", seed=0, artefacts={"query-function": "q", "model": "m0"},
        stages=(stage("query-function", "built", 40.0, 500.0), stage("model", "built", 10.0, 700.0)),
    )  # fmt: skip
    second = make_record(
        "b", seed=1, artefacts={"query-function": "q", "model": "m1"},
        stages=(stage("query-function", "hit", 0.1, 900.0), stage("model", "built", 20.0, 600.0)),
    )  # fmt: skip
    return [first, second]


def found(records, make_facts):
    return {p.what: p for p in resources.phases(table.of_runs([make_facts(records)]))}


def test_a_phase_counts_where_it_was_computed(shared, make_facts):
    by = found(shared, make_facts)
    query, model, total = by["query-function"], by["model"], by[resources.TOTAL]
    assert (query.seconds, query.peak_mib, query.n) == (40.0, 500.0, 1)  # what a hit took is no part of it
    assert (model.seconds, model.peak_mib, model.n) == (15.0, 700.0, 2)
    assert (total.seconds, total.peak_mib) == (55.0, 700.0)


def test_another_methods_trial_may_have_computed_it(shared, make_facts, make_record):
    other = make_record(
        "c", method="selection-only", role="compare", spent=0.7, artefacts={"query-function": "q"},
        stages=(stage("query-function", "joined", 3.0, 100.0),),
    )  # fmt: skip
    phases = resources.phases(table.of_runs([make_facts([*shared, other])]))
    (query,) = [p for p in phases if p.row.method == "selection-only" and p.what == "query-function"]
    assert (query.seconds, query.peak_mib) == (40.0, 500.0)


def test_what_two_roots_have_computed_counts_twice(shared, make_facts, make_record):
    again = make_record(
        "a",
        seed=0,
        seconds=9,
        artefacts={"query-function": "q"},
        stages=(stage("query-function", "built", 60.0, 800.0),),
    )
    runs = [make_facts(shared, path="/0/demo"), make_facts([again], path="/1/demo")]
    for order in (runs, runs[::-1]):
        (query,) = [p for p in resources.phases(table.of_runs(order)) if p.what == "query-function"]
        assert (query.seconds, query.peak_mib, query.n) == (50.0, 800.0, 2)


def test_what_none_of_the_runs_has_computed_has_no_time_and_no_total(shared, make_facts):
    by = found(shared[1:], make_facts)
    assert by["query-function"].seconds is None and by["query-function"].n == 0
    assert by[resources.TOTAL].seconds is None and by[resources.TOTAL].peak_mib == 600.0


def test_what_metrics_wait_for_is_in_their_time(make_facts, make_record):
    stages = (stage("model", "built", 10.0, 700.0), stage("reference", "built", 5.0, 800.0))
    record = make_record("a", artefacts={"model": "m", "reference": "r"}, stages=stages)
    assert resources.MEASURING[0] not in found([record], make_facts)


def test_metrics_take_their_time_too(make_facts, make_record):
    record = make_record("a")
    timed = record.model_copy(update={"metrics": tuple(m.model_copy(update={"seconds": 2.5}) for m in record.metrics)})
    assert found([timed], make_facts)[resources.METRICS].seconds == 5.0


def test_the_verb_writes_it_in_every_format(privimage, demo, tmp_path):
    code, out, _ = privimage("table", demo.path, "--resources")
    assert code == 0 and "| method | phase | seconds |" in out and "taken as public" in out
    code, out, err = privimage("table", demo.path, "--resources", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "") and {line["phase"] for line in lines} >= {"histogram", "generator"}
    code, _, _ = privimage("table", demo.path, "--resources", "--to", tmp_path / "t.tex")
    assert code == 0 and r"\begin{tabular}{llrrr}" in (tmp_path / "t.tex").read_text()
    code, _, err = privimage("table", demo.path, "--resources", "--figure", tmp_path / "t.png")
    assert code == 2 and "make two tables" in err and err.count("\n") == 1


def test_beside_a_private_selection_there_are_no_times(make_facts, make_record):
    bill = make_facts([make_record("a")]).bill
    (study,) = bill.studies
    secret = bill.model_copy(
        update={"mode": "select", "studies": (study.model_copy(update={"law": Law(mean=4, eta=0)}),)}
    )
    with pytest.raises(InputError, match="would tell the number of its trials"):
        resources.phases(table.of_runs([make_facts([make_record("a")], bill=secret)]))
