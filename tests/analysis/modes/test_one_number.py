"""One number to state: every epsilon in everything that a run leaves behind is that number, or is called what it is."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from PIL import Image
from quick import first

from privimage import record as records_file
from privimage.analysis import facts, price, spend
from privimage.analysis.export import pull_best
from privimage.analysis.front import write_front
from privimage.analysis.report import write_report
from privimage.errors import InputError
from privimage.privacy import guarantee
from privimage.privacy.budget import Event
from privimage.privacy.statement import epsilon as shown
from privimage.record import Record

RUNS = ("explored", "selected", "scored", "shared", "selected_without_query", "searched_in_public")
DELTA = 1e-5
# what another epsilon in a text must be called, in its own sentence, cell or bullet
CALLED = ("budget", "alone", "RDP", "->", "epsilon 0;", "asked of", "by each trial", "released at", "At epsilon")


@pytest.fixture(params=first(RUNS, 2))
def run(request, copied):
    return copied(request.getfixturevalue(request.param))


def to_state(found) -> set[str]:
    """The numbers that may be stated of a run, from its bill and in another way than the code under test does."""
    bill = found.bill
    numbers = {shown(bill.epsilon(DELTA))}
    if bill.mode != "explore":
        numbers |= {shown(bill.epsilon_of(study)) for study in bill.studies}
    return numbers


def named(value, path=()):
    """Every number under a key that speaks of epsilon, with the path to it."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from named(below, (*path, key))
    elif isinstance(value, list):
        for below in value:
            yield from named(below, path)
    elif any("epsilon" in key for key in path) and isinstance(value, float | int):
        yield path, float(value)


def check_text(text: str, found) -> None:
    """The first epsilon is to be stated, and all others are, or stand in a sentence that says what they are."""
    stated = to_state(found)
    parts = [part for part in re.split(r"(?<=\.)\s|\n|</(?:p|li|td|th|dd|figcaption)>", text) if "epsilon" in part]
    first = next(number for part in parts for number in re.findall(r"epsilon (\d[\d.]*\d|\d)", part))
    assert first in stated
    for part in parts:
        for number in re.findall(r"epsilon (\d[\d.]*\d|\d)", part):
            assert number in stated or any(word in part for word in CALLED), part


def test_every_file_of_a_run_says_the_same_number(run, tmp_path):
    found = facts.read(run)
    stated = to_state(found)
    write_front(run)
    rows = list(csv.DictReader(run.front("csv").open()))
    assert {name for name in rows[0] if "epsilon" in name} == {
        "budget_epsilon", "epsilon_to_state", "epsilon_alone", "epsilon_alone_rdp"
    }  # fmt: skip
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in rows[0])
    for row in rows:
        private = next(r for r in found.records if r.id == row["id"]).private
        assert (shown(float(row["epsilon_to_state"])) in stated) if private else row["epsilon_to_state"] == ""
        assert (row["not_private"] == "everything") != private
        assert set(row["not_private"].split()) <= {*row, "everything"}

    check_text(re.sub(r"<style>.*?</style>|base64,[^\"]*", "", write_report(run).read_text(), flags=re.S), found)
    for png in (run.front("png"), run.images):
        assert any(number in Image.open(io.BytesIO(png.read_bytes())).text["Description"] for number in stated)
    for claim in json.loads(guarantee.as_json(found.bill)):
        assert shown(claim["epsilon"]) in stated and claim["covers"] and claim["why"]


def test_a_bundle_says_the_same_number_everywhere(run, tmp_path):
    found = facts.read(run)
    budget = found.bill.studies[-1].budget
    pulled = pull_best(run, epsilon=budget.epsilon, metric=None, to=tmp_path / "best")
    number = shown(pulled.guarantee.epsilon)
    assert number in to_state(found)
    config = json.loads((tmp_path / "best" / "config.json").read_text())
    numbers = dict(named(config))
    assert shown(numbers.pop(("guarantee", "epsilon"))) == number
    assert set(numbers) <= {("alone", "epsilon")}
    assert config["guarantee"]["mode"] == found.bill.mode and "one image" in config["guarantee"]["unit"]
    card = (tmp_path / "best" / "card.md").read_text()
    assert re.search(r"epsilon (\d[\d.]*\d)", card)[1] == number
    check_text(card, found)
    assert number in Image.open(tmp_path / "best" / "samples.png").text["Description"]
    looks = {(look["metric"], look["split"]): look["values"] for look in config["without_noise"]}
    wanted = {(m.name, "test") for r in found.records for m in r.metrics if m.non_private and r.method != "real"}
    assert wanted <= looks.keys()
    for name, split in wanted:
        assert looks[name, split] == sum(r.value(name) is not None for r in found.records)


def test_a_generator_that_was_chosen_among_budgets_or_is_a_row_costs_everything(selected, searched_in_public, tmp_path):
    for number, folder in enumerate((selected, searched_in_public)):
        found = facts.read(folder)
        whole, delta = found.bill.epsilon(DELTA), DELTA
        unnamed = pull_best(folder, epsilon=None, metric=None, to=tmp_path / f"{number}")
        assert unnamed.guarantee.epsilon == whole
        by_budget = pull_best(folder, epsilon=10, metric=None, to=tmp_path / f"{number}-10")
        assert by_budget.guarantee.epsilon == found.bill.epsilon_of(found.bill.studies[-1]) < whole
        row = next(record for record in found.records if record.role == "compare" and record.private)
        assert price.stated(found, row) == guarantee.of_everything(found.bill, delta)


def test_of_several_seeds_the_best_costs_all_of_them(searched_in_public):
    """Which of them is shown was chosen by results: the price of one alone would be too small."""
    found = facts.read(searched_in_public)
    record = next(r for r in found.records if r.role == "search")
    study = found.bill.study(record.budget)
    assert price.stated(found, record).epsilon == found.bill.epsilon_of(study) >= (record.epsilon_alone or 0)


def test_records_name_their_price_and_where_the_one_to_state_stands(run):
    for record in records_file.load(run.records):
        line = json.loads(record.model_dump_json())
        assert {key for key in line if "epsilon" in key} == {"epsilon_alone", "epsilon_rdp_alone"}
        assert line["stated_in"] == run.guarantee.name
    assert "epsilon" not in Record.model_fields


def test_nothing_is_stated_where_the_records_contradict_the_bill(explored, copied, tmp_path):
    folder = copied(explored)
    trial = next(record for record in facts.read(folder).records if record.role == "search")
    louder = trial.paid[1].model_copy(
        update={"events": (Event(purpose="dp-sgd", split="train", sigma=0.3, q=0.2, steps=10),)}
    )
    records_file.append(folder.records, trial.model_copy(update={"paid": (*trial.paid[:1], louder)}))
    found = facts.read(folder)
    assert price.opening(found)[0].startswith("WARNING")
    with pytest.raises(InputError, match=r"asked more than the bill counts.*nothing is pulled"):
        pull_best(folder, epsilon=10, metric=None, to=tmp_path / "best")
    write_front(folder)
    assert all(row["epsilon_to_state"] == "" for row in csv.DictReader(folder.front("csv").open()))


def test_looks_without_noise_count_values_and_rows(explored):
    found = facts.read(explored)
    looks = {(look.metric, look.split): look.values for look in spend.looks(found)}
    assert looks[("images of real", "train")] == 1
    assert looks[("accuracy[lr]", "test")] == len(found.records)


@pytest.mark.parametrize("fault", ["the trial's own price is stated", "the query is left out", "rows are left out"])
def test_a_wrong_number_to_state_is_seen(fault, explored, selected, monkeypatch):
    found = facts.read(selected if fault == "rows are left out" else explored)
    bill = type(found.bill)
    if fault == "the trial's own price is stated":
        wrong = guarantee.of_everything(found.bill, DELTA).model_copy(update={"epsilon": 9.9995})
        monkeypatch.setattr(guarantee, "of_everything", lambda *_: wrong)
        text = guarantee.sentences(found.bill)[0]
    else:
        honest = found.bill.costs
        left = (
            honest[1:] if fault == "the query is left out" else tuple(c for s in found.bill.studies for c in s.search)
        )
        before = to_state(found)
        monkeypatch.setattr(bill, "costs", property(lambda self: left))
        text = guarantee.sentences(found.bill)[0]
        assert re.search(r"epsilon (\d[\d.]*\d)", text)[1] not in before
        return
    with pytest.raises(AssertionError):
        check_text(text, found)
