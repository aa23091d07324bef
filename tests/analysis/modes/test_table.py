"""Rows of a table by mode: of a search in the open a row a setting, of a procedure that is paid for one row."""

import pytest
import yaml

from privimage import record as records_file
from privimage.analysis import table, typeset
from privimage.errors import InputError

FID, LR, SCORE = "fid[efficientnet-lite0]", "accuracy[lr]", "dp-accuracy[lr]"


def rows(found, method="privimage+d"):
    return [row for row in found.rows if row.method == method]


def test_of_a_search_in_the_open_no_setting_is_chosen(explored):
    found = table.read([explored.path])
    assert [row.label for row in rows(found)] == [f"privimage+d (query.sigma {sigma})" for sigma in (7, 9, 12)]
    assert all(cell.n == 1 for row in rows(found) for cell in row.cells.values())
    assert "Which settings were tried" in " ".join(typeset.notes(found))


def test_winners_of_private_selections_are_one_row_and_nothing_tells_of_k(selected):
    found = table.read([selected.path])
    (row,) = rows(found)
    assert row.label == "privimage+d (the winner of a private selection)"
    assert {cell.n for cell in row.cells.values()} == {1}
    assert "done anew in every run" in " ".join(typeset.notes(found))


def test_winners_of_several_runs_are_repetitions_whatever_their_settings(selected, copied):
    other = copied(selected)
    found = table.read([selected.path, other.path])
    assert {cell.n for cell in rows(found)[0].cells.values()} == {1}  # a copy is no repetition
    won = records_file.load(other.records)
    other.records.unlink()
    for record in (record for record in won if record.role == "search"):
        record.config["method"]["query"]["sigma"] += 1.0
        metrics = [metric.model_copy(update={"value": metric.value + 0.1}) for metric in record.metrics]
        records_file.append(other.records, record.model_copy(update={"metrics": tuple(metrics)}))
    (row,) = rows(table.read([selected.path, other.path]))
    assert {(cell.n, cell.draws) for cell in row.cells.values()} == {(2, 2)}


def test_selections_from_other_spaces_are_rows_apart(selected, copied):
    other = copied(selected)
    sweep = yaml.safe_load(other.sweep.read_text())
    sweep["trials"] = 60
    other.sweep.write_text(yaml.safe_dump(sweep))
    labels = [row.label for row in rows(table.read([selected.path, other.path]))]
    assert labels == [f"privimage+d (the winner of a private selection, trials {n})" for n in (6, 60)]


def test_settings_found_on_public_data_are_one_row(searched_in_public):
    (row,) = rows(table.read([searched_in_public.path]))
    assert row.label == "privimage+d (settings found on public data)"
    assert len({budget for budget, _ in row.cells}) == 2


def test_the_search_on_the_stand_in_has_no_table_of_its_own(searched_in_public):
    with pytest.raises(InputError, match="a part of the report"):
        table.read([searched_in_public.stand_in.path])


def test_a_budget_for_everything_is_said(shared):
    found = table.read([shared.path])
    assert "budget of all of a run together" in " ".join(typeset.notes(found))
    assert rows(found)[0].cost is None


def test_a_noisy_score_has_no_dagger_and_rows_without_it_a_dash(scored):
    found = table.read([scored.path])
    text = typeset.markdown(found)
    assert f"{SCORE} ↑ |" in text and f"{SCORE}†" not in text
    assert not any(name == SCORE for _, name in rows(found, "dpdm")[0].cells)
