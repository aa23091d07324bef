"""What status, front and best say on the terminal: the price of everything, not that of what happens to be done."""

from __future__ import annotations

import pytest
from quick import these

from privimage.analysis import facts, words
from privimage.paths import Root
from privimage.sweeps.cli import main

DELTA = 1e-5


def said(capsys, monkeypatch, *arguments) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["privimage", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    found = capsys.readouterr()
    return ended.value.code, found.out + found.err


@pytest.mark.parametrize("run", these(["explored", "shared"], ["explored", "shared", "selected", "searched_in_public"]))
def test_status_states_the_price_of_everything(run, request, capsys, monkeypatch):
    folder = request.getfixturevalue(run)
    code, text = said(capsys, monkeypatch, "status", folder.path)
    total = words.epsilon(facts.read(folder).bill.epsilon(DELTA))
    assert code == 0 and text.startswith(f"State epsilon {total} at delta 1e-05 beside ")


@pytest.mark.parametrize("left", ["nothing", "an empty file", "rows without a score"])
def test_status_of_a_run_that_has_just_begun(left, explored, selected, copied, capsys, monkeypatch):
    folder = copied(selected if left == "rows without a score" else explored)
    bill = facts.read(folder).bill
    if left == "nothing":
        folder.records.unlink()
    elif left == "an empty file":
        folder.records.write_bytes(b"")
    else:
        lines = folder.records.read_text().splitlines(keepends=True)
        folder.records.write_text("".join(line for line in lines if '"role":"compare"' in line.replace(" ", "")))
    code, text = said(capsys, monkeypatch, "status", folder.path)
    assert code == 0 and f"epsilon {words.epsilon(bill.epsilon(DELTA))} at delta 1e-05" in text
    assert ("no finished trial yet" in text) == (left != "rows without a score")


def test_status_of_no_run(tmp_path, capsys, monkeypatch):
    code, text = said(capsys, monkeypatch, "status", tmp_path)
    assert code == 2 and "no bill and no records" in text


def test_front_and_best_state_it_too_and_best_gives_nothing_away_without_the_ledger(
    explored, copied, tmp_path, capsys, monkeypatch
):
    folder = copied(explored)
    total = f"epsilon {words.epsilon(facts.read(folder).bill.epsilon(DELTA))} at delta 1e-05"
    code, text = said(capsys, monkeypatch, "front", folder.path)
    assert code == 0 and text.startswith(f"State {total} beside anything of the run")
    code, text = said(capsys, monkeypatch, "best", folder.path, "--to", tmp_path / "best")
    assert (
        code == 0
        and f"best: State {total} beside anything of the run, be it one generator alone" in text
        and "WARNING" not in text
    )
    assert f"Everything that all runs ever asked of {'digits-v1'} costs" in (tmp_path / "best" / "card.md").read_text()
    Root(path=folder.root.path).ledger("digits-v1").unlink()
    code, text = said(capsys, monkeypatch, "best", folder.path, "--to", tmp_path / "other")
    assert code == 2 and "digits-v1.jsonl" in text and "backup" in text and not (tmp_path / "other").exists()


def test_a_report_says_which_number_stands_beside_what_is_published(explored, page_of):
    total = words.epsilon(facts.read(explored).bill.epsilon(DELTA))
    text = page_of(explored)
    assert f"State epsilon {total} at delta 1e-05 beside anything of the run, be it one generator alone" in text
    assert "had it run alone (no guarantee: it was chosen)" in text and "epsilon paid" not in text
