import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from privimage.analysis import table, typeset
from privimage.analysis.repetitions import cell
from privimage.errors import InputError
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Budget, Event

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"
QUERY = Event(purpose="query", split="train", sigma=5.0, shared="00ff")
ONE, TEN = Budget(epsilon=1, delta=1e-5), Budget(epsilon=10, delta=1e-5)
ACCURACIES = [0.71, 0.74, 0.79]


@pytest.fixture
def folders(demo, tmp_path):
    """The demo run and a copy of it in another root, to be changed."""
    shutil.copytree(demo.root.path, tmp_path / "other")
    return demo.path, tmp_path / "other" / "demo"


def cells(found, method):
    (row,) = [row for row in (*found.rows, *found.open_rows) if row.method == method]
    return row.cells


# ---- means, errors, repetitions


def test_runs_in_different_roots_are_repetitions(roots):
    found = cells(table.of_runs(roots()), "privimage+d")[TEN, CNN]
    assert found.mean == pytest.approx(np.mean(ACCURACIES))
    assert found.error == pytest.approx(np.std(ACCURACIES, ddof=1) / np.sqrt(3))
    assert (found.n, found.draws) == (3, 3)


def test_one_number_has_no_error(make_facts, make_record):
    found = cells(table.of_runs([make_facts([make_record("a")])]), "privimage+d")[TEN, CNN]
    assert (found.mean, found.error, found.n) == (0.8, None, 1)
    assert typeset.number(found) == "0.8 (1)"


def test_seeds_that_share_an_answer_are_one_draw_and_others_are_not(make_facts, make_record):
    shared = [make_record(f"s{i}", seed=i, cnn=value) for i, value in enumerate(ACCURACIES)]
    own = [r.model_copy(update={"id": f"d{r.id}", "method": "dpdm", "role": "compare", "paid": ()}) for r in shared]
    found = table.of_runs([make_facts([*shared, *own])])
    error = np.std(ACCURACIES, ddof=1) / np.sqrt(3)
    for method, draws in (("privimage+d", 1), ("dpdm", 3)):
        one = cells(found, method)[TEN, CNN]
        assert (one.n, one.draws, one.error) == (3, draws, pytest.approx(error))
    assert "in 1 draw)" in typeset.markdown(found) and "share one noisy answer" in typeset.markdown(found)


def test_of_seeds_in_several_roots_the_error_is_that_of_the_means_of_roots():
    found = cell([("a", 0.1), ("a", 0.3), ("b", 0.5), ("b", 0.5), ("c", 0.9)])
    means = [0.2, 0.5, 0.9]
    assert found.mean == pytest.approx(np.mean(means))
    assert found.error == pytest.approx(np.std(means, ddof=1) / np.sqrt(3))
    assert (found.n, found.draws) == (5, 3)
    assert typeset.number(found) == "0.53 ± 0.20 (5 in 3 draws)"


def test_what_is_the_same_counts_once(make_facts, make_record):
    real = make_record("r", method="real", role="compare", spent=None, events=())
    kept = make_record("a")
    runs = [
        make_facts([kept, real], path="/one/demo"),
        make_facts([kept, real], path="/one/again"),  # found in the store of its root
        make_facts([kept, real.model_copy(update={"seconds": 5.0})], path="/copy/demo"),  # copied; made without noise
    ]
    found = table.of_runs(runs)
    assert cells(found, "privimage+d")[TEN, CNN].n == cells(found, "real")[TEN, CNN].n == 1


# ---- rows


def test_every_setting_that_was_tried_has_a_row(demo):
    found = table.read([demo.path])
    searched = [row for row in found.rows if row.method == "privimage+d"]
    assert [row.label for row in searched] == [
        f"privimage+d (select.ratio {ratio})" for ratio in ("0.03", "0.05", "0.1")
    ]
    assert [row.cells[TEN, CNN].mean for row in searched] == pytest.approx([0.82, 0.91, 0.88])
    assert {one.n for row in searched for one in row.cells.values()} == {1}


def test_settings_that_a_method_does_not_use_make_no_row(make_facts, make_record):
    chosen = [
        make_record(f"s{at}", method="selection-only", role="compare", events=(QUERY,), spent=0.73, seconds=at)
        for at in range(2)
    ]
    for at, record in enumerate(chosen):
        record.config["method"]["finetune"] = {"lr": 1.0 + at}
    found = table.of_runs([make_facts([record], path=f"/{at}/demo") for at, record in enumerate(chosen)])
    assert cells(found, "selection-only")[TEN, CNN].n == 2


def test_a_setting_that_came_later_is_its_default_in_older_records(make_facts, make_record):
    new, old = (make_record(f"s{at}", method="privimage+d", seconds=at) for at in range(2))
    whole = resolve({"name": "privimage+d"}).model_dump(mode="json")
    new.config["method"], old.config["method"] = whole, {**whole, "query": {"sigma": whole["query"]["sigma"]}}
    found = table.of_runs([make_facts([record], path=f"/{at}/demo") for at, record in enumerate((new, old))])
    assert cells(found, "privimage+d")[TEN, CNN].n == 2


def test_a_setting_that_came_with_another_way_is_what_was_done_before_in_older_records(make_facts, make_record):
    """What a trial did before a field came is no repetition of what it does by default now."""
    new, old, as_old = (make_record(f"s{at}", method="privimage+m", seconds=at) for at in range(3))
    whole = resolve({"name": "privimage+m"}).model_dump(mode="json")
    means = {"sigma": whole["means"]["sigma"]}
    new.config["method"], old.config["method"] = whole, {**whole, "means": means}
    as_old.config["method"] = {**whole, "means": {**means, "distinct": 0.0, "resembling": 0.0}}

    def repeated(*records):
        found = table.of_runs([make_facts([record], path=f"/{at}/demo") for at, record in enumerate(records)])
        return [row.cells[TEN, CNN].n for row in found.rows if row.method == "privimage+m"]

    assert repeated(old, as_old) == [2] and repeated(old, new) == [1, 1]


def test_what_is_made_without_noise_counts_once_whatever_its_seed(make_facts, make_record):
    real = [
        make_record(f"r{at}", method="real", role="compare", seed=at, seconds=at, events=(), spent=None)
        for at in range(2)
    ]
    found = table.of_runs([make_facts([record], path=f"/{at}/demo") for at, record in enumerate(real)])
    assert cells(found, "real")[TEN, CNN].n == 1


def test_rows_without_privacy_stand_apart_at_every_budget(demo):
    found = table.read([demo.path])
    assert [row.method for row in found.open_rows] == ["nonprivate-tune", "real"]
    assert cells(found, "real")[ONE, CNN] == cells(found, "real")[TEN, CNN]


def test_a_row_of_a_price_of_its_own_stands_where_it_fits(make_facts, make_record):
    small = Budget(epsilon=0.5, delta=1e-5)
    only = make_record("s", method="selection-only", role="compare", events=(QUERY,), spent=0.73)
    found = table.of_runs([make_facts([*(make_record(f"a{e}", epsilon=e) for e in (0.5, 1, 10)), only])])
    (row,) = [row for row in found.rows if row.method == "selection-only"]
    assert row.label == "selection-only (epsilon 0.73)"
    assert [(budget, CNN) in row.cells for budget in (small, ONE, TEN)] == [False, True, True]


def test_budgets_that_differ_in_delta_are_columns_apart(make_facts, make_record):
    other = Budget(epsilon=10, delta=1e-6)
    found = table.of_runs([make_facts([make_record("a"), make_record("b", budget=other, ratio=0.1)])])
    assert [found.at(budget) for budget in found.budgets] == ["epsilon 10, delta 1e-06", "epsilon 10, delta 1e-05"]


# ---- what is refused


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("sensitive", "id", "digits-v2"), ("sensitive", "test", 0.5), ("public", "name", "x")],
)
def test_runs_of_other_data_are_refused(make_facts, make_record, section, field, value):
    other = make_record("b")
    other.config["data"][section][field] = value
    with pytest.raises(InputError, match=rf"^data\.{section}\.{field}: .* in /nowhere/demo.* in /else/demo") as refused:
        table.of_runs([make_facts([make_record("a")]), make_facts([other], path="/else/demo")])
    assert "\n" not in str(refused.value)


def test_where_the_images_lie_is_no_difference(make_facts, make_record):
    records = [make_record("a"), make_record("a", seconds=1.0)]
    for record, root in zip(records, ("/here", "/there"), strict=True):
        record.config["data"]["sensitive"]["root"] = root
    runs = [make_facts([record], path=f"/{at}/demo") for at, record in enumerate(records)]
    assert cells(table.of_runs(runs), "privimage+d")[TEN, CNN].n == 2


def test_runs_with_other_metrics_are_refused(make_facts, make_record):
    runs = [make_facts([make_record("a")]), make_facts([make_record("b", cnn=None)], path="/else/demo")]
    with pytest.raises(InputError, match=r"^metrics: accuracy\[cnn\] was measured in /nowhere/demo, not in /else/demo"):
        table.of_runs(runs)


# ---- what is said


def test_what_must_be_stated_stands_below_for_every_run_and_for_all_together(folders):
    found = table.read(folders)
    each, both = (re.findall(r"epsilon ([0-9.]+) at", line)[0] for line in typeset.statements(found))
    assert float(both) > float(each) > 10
    assert typeset.statements(found)[0].startswith(f"{folders[0]} and {folders[1]}, each: State epsilon")
    (alone,) = typeset.statements(table.read(folders[:1]))
    assert f"State epsilon {each} at delta 1e-05" in alone


def test_a_run_that_paid_for_more_than_its_bill_is_told(make_facts, make_record):
    bill = make_facts([make_record("a")]).bill
    found = table.of_runs([make_facts([make_record("a"), make_record("b", ratio=0.1)], bill=bill)])
    assert "WARNING" in typeset.statements(found)[0] and "State epsilon" in typeset.statements(found)[1]
    right = make_facts([make_record("a")], path="/other/demo")
    for runs, stated in (([found.runs[0], right], False), ([right, make_facts([make_record("a")])], True)):
        several = table.of_runs(runs)
        assert ("prices add up" in " ".join(typeset.statements(several))) == stated
        lines = list(csv.DictReader(io.StringIO(typeset.as_csv(several))))
        assert lines and all(bool(line["epsilon_to_state"]) == stated for line in lines)


def test_an_unfinished_run_says_so(make_facts, make_record):
    records = [make_record("a"), make_record("b", ratio=0.1)]
    found = table.of_runs([make_facts(records[:1], bill=make_facts(records).bill)])
    assert any("So far 1 of 2 search trials has a result" in line for line in typeset.notes(found))


def test_looks_repetitions_and_the_choice_of_rows_are_told(demo):
    text = " ".join(typeset.notes(table.read([demo.path])))
    for part in (
        "a look at the test split", "same 1000 real images", "No row was chosen by its figures",
        "no privacy at all: nonprivate-tune and real", "should expect less",
    ):  # fmt: skip
        assert part in text


# ---- formats


def test_the_best_private_value_of_a_column_is_bold(demo):
    found = table.read([demo.path])
    lines = [line.split(" | ") for line in typeset.markdown(found).splitlines() if line.startswith("| ")][2:]
    bold = {(line[0].strip("| "), at) for line in lines for at, part in enumerate(line) if part.startswith("**")}
    best = "privimage+d (select.ratio 0.05)"
    assert bold == {(best, 1), (best, 2), (best, 3), (best, 4)}  # not real, not nonprivate-tune
    assert found.best((TEN, FID)) == 40 and found.best((TEN, CNN)) == pytest.approx(0.91)


def test_equal_values_are_both_bold(make_facts, make_record):
    found = table.of_runs([make_facts([make_record("a"), make_record("b", ratio=0.1, fid=60)])])
    assert [found.is_best(row, (TEN, CNN)) for row in found.rows] == [True, True]
    assert [found.is_best(row, (TEN, FID)) for row in found.rows] == [True, False]


def test_markdown_has_base_rates_and_as_many_cells_in_every_line(demo):
    text = typeset.markdown(table.read([demo.path]))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {6}
    assert "| chance (one guess in so many classes) | – | 0.1 | – | 0.1 |" in lines


def test_csv_holds_every_number(roots):
    found = table.of_runs(roots())
    (row,) = [r for r in csv.DictReader(io.StringIO(typeset.as_csv(found))) if r["metric"] == CNN]
    assert float(row["mean"]) == pytest.approx(np.mean(ACCURACIES))
    assert float(row["standard_error"]) == pytest.approx(np.std(ACCURACIES, ddof=1) / np.sqrt(3))
    assert (row["method"], row["repetitions"], row["draws"], row["best"]) == ("privimage+d", "3", "3", "True")
    assert (row["budget_epsilon"], row["not_private"], row["private"]) == ("10.0", "True", "True")
    assert float(row["epsilon_to_state"]) == found.together(1e-5) > found.runs[0].bill.epsilon(1e-5)


def test_csv_says_nothing_of_a_guarantee_where_there_is_none(demo):
    rows = list(csv.DictReader(io.StringIO(typeset.as_csv(table.read([demo.path])))))
    assert {row["epsilon_to_state"] for row in rows if row["method"] == "real"} == {""}
    assert {row["standard_error"] for row in rows} == {""}


def test_latex_escapes_what_it_would_read_as_something_else(make_facts, make_record):
    records = [make_record("a", method="my_own|50%&$x^2"), make_record("b", method="my_own|50%&$x^2", ratio=0.1)]
    text = typeset.latex(table.of_runs([make_facts(records, path="/my_runs/50%#{x}~")]))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    spans = [int(n) - 1 for n in re.findall(r"multicolumn\{(\d)\}", rows[0])]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows[1:]} == {2}
    assert len(re.findall(r"(?<!\\)&", rows[0])) + sum(spans) == 2
    bare = re.sub(r"\\[a-z]+|\\[&%$#_{}\\]|\$(\\[a-z]+|<|>)\$", "", text)  # commands, escapes, formulas
    assert not set(bare) & set("%$#_^~†±↓↑–|\\")
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"\\\\\s*[\[*]", text)  # would be an argument of the line break
    assert text.count(r"\begin") == text.count(r"\end") == 2


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [(0.8123, 0.0104, "0.812 ± 0.010 (2)"), (49.42, 1.234, "49.4 ± 1.2 (2)"), (1234.5, 321, "1234 ± 321 (2)"),
     (0.5, 0.0, "0.5 ± 0 (2)")],
)  # fmt: skip
def test_means_are_rounded_by_their_errors(mean, error, text):
    assert typeset.number(cell([("a", mean - error), ("b", mean + error)])) == text


# ---- the command


def test_the_table_is_printed(privimage, demo):
    code, out, err = privimage("table", demo.path)
    assert code == 0 and not err
    assert out == typeset.markdown(table.read([demo.path]))


def test_the_format_is_that_of_the_file(privimage, demo, tmp_path):
    for name, kind in (("t.tex", "latex"), ("t.csv", "csv"), ("t.md", "markdown")):
        code, out, _ = privimage("table", demo.path, "--to", tmp_path / name)
        assert code == 0 and out.splitlines()[0].startswith(f"{demo.path}: State epsilon")
        assert (tmp_path / name).read_text() == typeset.FORMATS[kind](table.read([demo.path]))


def test_beside_numbers_alone_the_statement_goes_its_own_way(privimage, demo):
    code, out, err = privimage("table", demo.path, "--format", "csv")
    assert code == 0 and out.startswith("method,") and "State" not in out
    assert err.startswith(f"{demo.path}: State epsilon")


def test_the_picture_is_drawn_beside_the_table(privimage, demo, tmp_path):
    code, out, _ = privimage("table", demo.path, "--figure", tmp_path / "t.png")
    assert code == 0 and out.startswith("| method")
    assert Image.open(tmp_path / "t.png").format == "PNG"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("RUN", "RUN"), "given twice"),
        (("RUN", "/nowhere/at-all"), "/nowhere/at-all: no such folder"),
        (("RUN", "EMPTY"), "no records"),
        (("RUN", "--format", "html"), "--format: got 'html'; allowed: markdown, csv, latex"),
        (("RUN", "--to", "x.docx"), "--to: got 'x.docx'; give a name in .md, .csv or .tex, or a --format"),
        (("RUN", "--figure", "t.jpg"), "--figure: got 't.jpg'"),
        (("RUN", "--to", "/nowhere/t.md"), "/nowhere/t.md: cannot be written"),
        (("RUN", "--figure", "/nowhere/t.png"), "/nowhere/t.png: cannot be written"),
        (("RUN", "--to", "EMPTY"), "cannot be written"),
        (("RUN", "file:///runs/demo"), "only folders and files of this machine"),
    ],
)
def test_bad_input_is_one_line(privimage, demo, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    known = {"RUN": demo.path, "EMPTY": tmp_path / "empty"}
    code, _, err = privimage("table", *(known.get(word, word) for word in words))
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1


def test_rows_that_failed_are_not_passed_over(folders):
    """A rival that has no record would else leave no trace."""
    counted = [("dpdm at epsilon 1", 0, True), ("real", 1, True), ("final run at epsilon 1", 0, False)]
    rows = [{"label": label, "done": done, "total": 1, "compared": compared} for label, done, compared in counted]
    (folders[1] / "progress.json").write_text(json.dumps({"rows": rows}))
    said = typeset.markdown(table.read(folders))
    assert said.count("without a result, failed or not run: dpdm at epsilon 1 (0 of 1).") == 1
    for damaged in ("", "[]", '{"rows": [{}]}'):
        (folders[1] / "progress.json").write_text(damaged)
        assert "without a result" not in typeset.markdown(table.read(folders))
