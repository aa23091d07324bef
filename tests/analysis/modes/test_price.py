"""The first number of every report, recomputed in another way, and the sentences that stand around it."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as dpa
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.analysis import rdp as renyi
from quick import first

from privimage import record as records_file
from privimage.analysis import beside, facts, price, spend
from privimage.analysis.report import write_report
from privimage.errors import InputError
from privimage.privacy.accounting import bounds
from privimage.privacy.accounting.costs import AnyOf
from privimage.privacy.budget import Event

DELTA, FIRST = 1e-5, r"epsilon ([\d.]+) at delta 1e-05"
RUNS = ("explored", "shared", "scored", "selected", "selected_without_query", "searched_in_public")


@pytest.fixture(scope="module", autouse=True)
def one_order_of_one_mechanism_once():
    """PRV asks RDP anew for every part of a history, seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renyi, "_compute_rdp", cache(renyi._compute_rdp))
        yield


def by_opacus(events: list[Event]) -> tuple[float, float]:
    """Epsilon by numerical composition of privacy losses, and by RDP."""
    found = []
    for accountant, options in (
        (PRVAccountant(), {"eps_error": 0.005, "delta_error": DELTA / 1000}),
        (RDPAccountant(), {}),
    ):
        accountant.history = [(event.sigma, event.q, event.steps) for event in events]
        found.append(float(accountant.get_epsilon(DELTA, **options)))
    return found[0], found[1]


def spelled_out(costs, split: str) -> list[Event]:
    """The accesses one by one: where there is one choice only, AnyOf is a plain list."""
    single = []
    for cost in costs:
        if isinstance(cost, AnyOf):
            (event,) = cost.events
            single += [event] * cost.times
        else:
            single.append(cost)
    return [event for event in single if event.split == split]


@pytest.mark.parametrize("run", first(["explored", "shared", "scored", "searched_in_public"]))
@pytest.mark.thorough
def test_the_first_number_is_what_another_accountant_finds(run, request, page_of):
    folder = request.getfixturevalue(run)
    found, stated = facts.read(folder), float(re.search(FIRST, page_of(folder)).group(1))
    splits = [spelled_out(found.bill.costs, split) for split in ("train", "validation")]
    both = [by_opacus(events) for events in splits if events]
    prv, rdp = max(value for value, _ in both), max(value for _, value in both)
    assert abs(stated - prv) <= 0.01 + 1e-4
    assert stated < rdp


@pytest.mark.thorough
def test_the_first_number_of_a_selection_is_the_bound_of_its_own_profile(selected_without_query, page_of):
    found = facts.read(selected_without_query)
    stated = float(re.search(FIRST, page_of(selected_without_query)).group(1))
    (study,) = found.bill.studies
    epsilons, at = np.arange(0, 40, 0.002), np.arange(0, 40, 0.001)
    reached = []
    for event in (*study.trainings, study.score):
        pld = dpa.from_gaussian_mechanism(event.sigma, sampling_prob=event.q, value_discretization_interval=2e-4)
        pld = pld.self_compose(event.steps) if event.steps > 1 else pld
        curve = bounds.profile(study.law, epsilons, np.asarray(pld.get_delta_for_epsilon(epsilons)), at)
        reached.append(float(at[np.argmax(curve <= DELTA)]))
    assert abs(stated - max(reached)) < 0.01
    assert stated <= 10


def test_with_a_query_the_selection_costs_more_and_no_more_than_both_apart(selected, page_of):
    found = facts.read(selected)
    first, *generators = [float(value) for value in re.findall(FIRST, page_of(selected))[:3]]
    assert first == pytest.approx(found.bill.epsilon(DELTA), rel=2e-4)
    for study, stated in zip(found.bill.studies, generators, strict=True):
        (record,) = [r for r in found.records if r.selection is not None and r.budget == study.budget]
        assert stated == pytest.approx(record.epsilon_alone, rel=2e-4)
        assert stated <= study.budget.epsilon
    assert first > max(generators)


@pytest.mark.parametrize("run", RUNS)
def test_every_trial_was_counted_and_nothing_speaks_of_a_path(run, request):
    found = facts.read(request.getfixturevalue(run))
    said = " ".join([*price.opening(found), *price.terms(found), *spend.not_covered(found)])
    assert "WARNING" not in said and "path" not in said


@pytest.mark.parametrize("run", RUNS)
def test_the_first_epsilon_on_the_page_is_the_total(run, request, page_of):
    text = page_of(request.getfixturevalue(run))
    body = text[text.index("<body>") :]
    assert body.index("State epsilon ") + len("State") == body.index(" epsilon ")


def test_a_record_that_asked_more_than_the_bill_is_pointed_out(explored, copied):
    folder = copied(explored)
    found = facts.read(folder)
    trial = next(record for record in found.records if record.role == "search")
    louder = Event(purpose="dp-sgd", split="train", sigma=0.3, q=0.2, steps=10)
    paid = (*trial.paid[:1], trial.paid[1].model_copy(update={"events": (louder,)}))
    records_file.append(folder.records, trial.model_copy(update={"paid": paid}))
    assert price.opening(facts.read(folder))[0].startswith(f"WARNING: trial {trial.id} asked more")
    more = trial.paid[1].model_copy(update={"id": "another"})
    records_file.append(folder.records, trial.model_copy(update={"id": "extra", "paid": (*trial.paid[:1], more)}))
    records_file.append(folder.records, trial)
    assert "the search at (epsilon" in price.opening(facts.read(folder))[0]


@pytest.mark.parametrize(
    ("role", "purpose", "says"),
    [("compare", "dp-sgd", "the comparison rows at"), ("search", "query", "WARNING: shared questions")],
)
def test_a_query_or_a_row_that_was_paid_twice_is_pointed_out(role, purpose, says, explored, copied):
    folder = copied(explored)
    record = next(r for r in facts.read(folder).records if r.role == role and purpose in {e.purpose for e in r.events})
    again = tuple(
        paid.model_copy(update={"id": "again"}) if paid.events[0].purpose == purpose else paid for paid in record.paid
    )
    records_file.append(folder.records, record.model_copy(update={"id": "extra", "role": "compare", "paid": again}))
    assert says in price.opening(facts.read(folder))[0]


def test_more_noise_than_the_bill_counts_is_no_overdraft(explored):
    found = facts.read(explored)
    training = {event for study in found.bill.studies for event in study.trainings}
    assert any(
        e not in training for r in found.records if r.role == "search" for e in r.events if e.purpose == "dp-sgd"
    )
    assert not any("WARNING" in sentence for sentence in price.terms(found))


def test_a_search_that_is_not_done_is_said_to_be_so(explored, copied):
    folder = copied(explored)
    lines = folder.records.read_text().splitlines(keepends=True)
    folder.records.write_text("".join(lines[:-1]))
    assert any("So far 5 of 6 search trials have a result" in said for said in price.terms(facts.read(folder)))


def test_a_selection_that_has_not_ended_releases_nothing(selected, copied):
    folder = copied(selected)
    rows = [record for record in records_file.load(folder.records) if record.selection is None]
    folder.records.unlink()
    for record in rows:
        records_file.append(folder.records, record)
    report = write_report(folder).read_text()
    assert report.count("the selection has not ended: nothing is released yet") == 2
    assert "The generator released" not in report


def test_what_meets_a_budget_is_said_only_where_it_does(explored, shared, selected, searched_in_public):
    said = {
        folder: " ".join(price.terms(facts.read(folder))) for folder in (explored, shared, selected, searched_in_public)
    }
    assert "Each trial alone meets its own budget" in said[explored]
    assert [("as a whole" in text) for text in said.values()] == [False, True, False, False]


def test_a_noisy_score_has_no_dagger_and_names_its_split(scored, selected, page_of):
    text = page_of(scored)
    assert "dp-accuracy[lr]†" not in text and "on the validation split" in text
    assert "† computed from" not in text and "No epsilon covers" not in text  # nothing here is outside the account
    assert "the choice is paid for in the total" in text
    assert "dp-accuracy[lr]†" not in page_of(selected)


def test_the_price_table_has_both_accountants_and_what_an_attacker_can_reach(searched_in_public):
    lines = price.lines(facts.read(searched_in_public))
    assert [line.what for line in lines] == [
        "the generator at budget 1: shared answers and training",
        "the generator at budget 10: shared answers and training",
        "everything together",
    ]  # fmt: skip
    assert 0.999 < lines[0].epsilon <= 1 and 9.999 < lines[1].epsilon <= 10, "all that was asked meets the budget"
    for line in lines:
        assert line.epsilon < line.epsilon_rdp
        assert 0.001 < line.tpr(0.001) < line.tpr(0.01) <= np.exp(line.epsilon) * 0.01 + DELTA


def test_the_search_on_the_stand_in_is_shown_as_public(searched_in_public, page_of):
    text = page_of(searched_in_public)
    section = text[text.index('id="the-search-on-the-public-stand-in"') : text.index('id="fine-print"')]
    assert "PUBLIC" in section and "†" not in section
    for record in records_file.load(searched_in_public.stand_in.records):
        assert record.id in section
    assert "on the public stand-in: the choice costs nothing more" in text
    assert "Not covered: the choice itself" not in text


def test_a_stand_in_has_no_report_of_its_own(searched_in_public):
    with pytest.raises(InputError, match="on public data"):
        facts.read(searched_in_public.stand_in)


def test_a_damaged_or_missing_bill_is_an_error_where_it_is_needed(selected, copied):
    folder = copied(selected)
    folder.bill.write_text("{")
    with pytest.raises(InputError, match=r"bill\.json: not valid JSON"):
        facts.read(folder)
    folder.bill.unlink()
    with pytest.raises(InputError, match=r"bill\.json: missing"):
        facts.read(folder)


def test_comparisons_do_not_take_a_winner_for_the_best_of_so_many(selected, searched_in_public, shared):
    found = facts.read(selected)
    said = " ".join(s for study in found.bill.studies for s in beside.sentences(found, study.budget))
    assert "the winner of a private selection" in said and "best of" not in said
    found = facts.read(searched_in_public)
    said = " ".join(beside.sentences(found, found.bill.studies[0].budget))
    assert "settings that a search on public data found" in said and "best of" not in said
    found = facts.read(shared)
    said = " ".join(beside.sentences(found, found.bill.studies[0].budget))
    assert "Within budget 10 for all, compared with dpdm" in said
