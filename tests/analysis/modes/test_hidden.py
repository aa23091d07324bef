"""What a private selection hides stays hidden in everything that is written, and what may leave is what was paid."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest

from privimage import record as records_file
from privimage.analysis import facts, front, pareto, words
from privimage.analysis.export import choose, deciding, pull_best
from privimage.analysis.modes.select import Selected
from privimage.analysis.report import write_report
from privimage.paths import RunFolder
from privimage.privacy import accounting
from privimage.record import Record

LR, SCORE = "accuracy[lr]", "dp-accuracy[lr]"


def written(folder: RunFolder, to) -> str:
    """Everything that analysis writes as text about a run: report, CSV, the bundles of both budgets."""
    text = [write_report(folder).read_text()]
    front.write_front(folder)
    text.append(folder.front("csv").read_text())
    for budget in ("1", "10"):
        pull_best(folder, epsilon=float(budget), metric=None, to=to / budget)
        text += [(to / budget / name).read_text() for name in ("card.md", "config.json")]
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", "\n".join(text))  # pictures may spell any number


def secrets(folder: RunFolder) -> set[str]:
    """What tells of the trials of a selection and cannot stand there by chance: names, whole scores, times."""
    trials = records_file.load(folder.internal_records)
    out = {record.metrics for record in records_file.load(folder.records)}
    lost = [record for record in trials if record.metrics not in out]
    assert lost, "no loser, so nothing to hide"
    scores = {str(metric.value) for record in lost for metric in record.metrics}
    return {record.id for record in trials} | scores | {"4321", "4322", "8765", '"draw"', "draw.number", "2026-01-02T"}


def pulled(folder: RunFolder, **options: Any) -> Record:
    """The record of the trial whose generator is pulled."""
    trial = pull_best(folder, **options).config.trial
    return next(record for record in records_file.load(folder.records) if record.id == trial)


def seen(text: str, hidden: set[str]) -> set[str]:
    return {secret for secret in hidden if re.search(rf"(?<![\w.]){re.escape(secret)}(?!\d)", text)}


def test_nothing_that_is_written_tells_of_the_other_trials(selected, copied, tmp_path):
    folder = copied(selected)
    hidden = secrets(folder)
    whole = written(folder, tmp_path / "a")
    assert seen(whole, hidden) == set()
    shutil.rmtree(folder.path / "internal")
    assert written(folder, tmp_path / "b") == whole  # a function of what was released, so not of K


@pytest.mark.parametrize("fault", ["internal records are read", "times are shown"])
@pytest.mark.thorough
def test_a_report_that_tells_is_seen(selected, copied, tmp_path, monkeypatch, fault):
    folder = copied(selected)
    hidden, load = secrets(folder), records_file.load
    if fault == "internal records are read":
        both = lambda path: [*load(path), *load(folder.internal_records)]  # noqa: E731
        monkeypatch.setattr(facts.records_file, "load", both)
    if fault == "times are shown":
        monkeypatch.setattr(Selected, "timed", True)
    assert seen(written(folder, tmp_path / "a"), hidden)


def test_the_place_in_the_selection_is_no_searched_field(selected):
    found = facts.read(selected)
    assert found.searched == ["method.query.sigma"]
    assert not any(
        path.startswith("draw") for record in found.records for path in pareto.flatten(record.config) if path != "draw"
    )


@pytest.mark.parametrize("metric", [None, SCORE, LR])
def test_the_winner_is_pulled_whatever_the_metric_at_the_price_of_the_selection(selected, tmp_path, metric):
    record = pulled(selected, epsilon=10, metric=metric, to=tmp_path / "best")
    found = facts.read(selected)
    study = found.bill.study(record.budget)
    config = json.loads((tmp_path / "best" / "config.json").read_text())
    assert record.selection is not None
    assert config["guarantee"]["epsilon"] == record.epsilon_alone == found.bill.epsilon_of(study)
    assert config["alone"]["epsilon"] is None and config["alone"]["selection"]["law"] == {"eta": 0.0, "mean": 6.0}

    card = (tmp_path / "best" / "card.md").read_text()
    alone = accounting.epsilon(record.events, 1e-5)
    assert alone < record.epsilon_alone - 0.1
    assert f"{alone:.3f}"[:-1] not in card and "->" not in card
    assert "Guarantee: epsilon 9.999" in card and "alone (its choice included)" in card
    assert "K follows a logarithmic law with mean 6" in card
    assert "chosen among" not in card


def test_the_card_of_a_trial_that_was_chosen_in_the_open_states_the_total_as_its_guarantee(explored, tmp_path):
    record = pulled(explored, epsilon=10, metric=None, to=tmp_path / "best")
    card = (tmp_path / "best" / "card.md").read_text()
    first = float(re.search(r"epsilon ([\d.]+)", card).group(1))
    assert first == pytest.approx(facts.read(explored).bill.epsilon(1e-5), rel=2e-4)
    assert first > record.epsilon_alone + 1
    assert "that alone is no guarantee" in card


def test_the_card_of_a_public_search_states_the_run_and_no_choice(searched_in_public, tmp_path):
    record = pulled(searched_in_public, epsilon=10, metric=None, to=tmp_path / "best")
    card = (tmp_path / "best" / "card.md").read_text()
    bill = facts.read(searched_in_public).bill
    assert f"Guarantee: epsilon {words.epsilon(bill.epsilon_of(bill.study(record.budget)))}" in card
    assert "found on public data, which cost nothing" in card
    assert "chosen among" not in card


def test_a_generator_with_a_noisy_score_can_be_pulled(scored, tmp_path):
    record = pulled(scored, epsilon=10, metric=None, to=tmp_path / "best")
    assert record.events[-1].purpose == "score"


def test_without_a_metric_the_usual_one_decides_else_the_first_objective(demo, explored, selected):
    assert deciding(facts.read(demo)) == "accuracy[cnn]"
    assert deciding(facts.read(explored)) == "accuracy[lr]"
    found = facts.read(selected)
    assert deciding(found) == SCORE
    assert choose(found, epsilon=1, metric=SCORE).selection is not None


def test_the_front_of_a_selection_has_winners_only(selected):
    found = facts.read(selected)
    best = front.write_front(selected)
    assert list(best["best of"]).count("K") == len(found.bill.studies)
    assert [metric.name for metric in front.panels(found)] == ["fid[efficientnet-lite0]", "accuracy[lr]"]
    assert not set(best.columns) & {"seconds", "stages"}


def test_a_noisy_score_gets_a_panel_beside_one_that_the_rows_have(scored, make_facts, make_record, make_metric):
    assert [metric.name for metric in front.panels(facts.read(scored))] == [SCORE]
    noisy = next(record for record in facts.read(scored).records if record.role == "search")
    both = noisy.model_copy(update={"metrics": (*noisy.metrics, make_metric(LR, 0.5))})
    row = make_record("row", method="dpdm", role="compare", metrics=(make_metric(LR, 0.4),))
    assert [metric.name for metric in front.panels(make_facts([both, row], objectives=(SCORE,)))] == [SCORE, LR]
