import re
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from privimage.analysis import changes, compare, side_by_side, two_fronts
from privimage.errors import InputError
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Budget, Event

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"
OPEN = Event(purpose="training", split="train", sigma=0.0, q=0.5, steps=50)
ONE, TEN = Budget(epsilon=1, delta=1e-5), Budget(epsilon=10, delta=1e-5)


@pytest.fixture
def seeds(make_facts, make_record):
    """A run of three seeds at two budgets, all values moved by `by`."""

    def make(by: float = 0.0, path: str = "/nowhere/demo", n: int = 3, **fields):
        return make_facts(
            [
                make_record(f"{e}-{s}-{by}", epsilon=e, seed=s, fid=60 - 20 * (e > 1) + s - 100 * by,
                            cnn=0.6 + 0.2 * (e > 1) + 0.01 * s + by, **fields)
                for e in (1.0, 10.0) for s in range(n)
            ],
            path=path,
        )  # fmt: skip

    return make


@pytest.fixture
def folders(demo, tmp_path):
    """The demo run and a copy of it in another root, to be changed."""
    shutil.copytree(demo.root.path, tmp_path / "other")
    return demo.path, tmp_path / "other" / "demo"


def rewrite(folder, **values):
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))


# ---- what changed


def test_only_the_fields_that_differ_are_named(folders):
    for folder, seeds, ratios in zip(folders, ([0], [0, 1]), ([0.03], [0.03, 0.1]), strict=True):
        dimension = {"method.select.ratio": {"choice": ratios}}
        rewrite(folder, name=folder.parts[-2], seeds=seeds, search=dimension, trials=3)
    found = compare.read(folders).changed
    assert [(one.field, one.a, one.b) for one in found] == [
        ("seeds", "0", "0, 1"),
        ("search.method.select.ratio", "{choice: [0.03]}", "{choice: [0.03, 0.1]}"),
    ]
    rewrite(folders[1], **yaml.safe_load((folders[0] / "sweep.yaml").read_text()))
    assert compare.read(folders).changed == [] and "Nothing but the name." in side_by_side.markdown(
        compare.read(folders)
    )


def test_of_the_method_what_was_settled_is_compared_and_not_what_was_written(make_facts, make_record):
    a, b = make_record("a"), make_record("b")
    a.config["method"]["finetune"] = {"lr": 0.1}
    b.config["method"] |= {"finetune": {"lr": 0.3}, "sample": {"steps": 3}}
    found = changes.changes(make_facts([a]), make_facts([b], path="/else/demo"))
    assert [(one.field, one.a, one.b) for one in found] == [("method.finetune.lr", "0.1", "0.3")]


def test_what_a_method_does_not_use_is_no_difference(make_facts, make_record):
    rows = [make_record(f"s{lr}", method="selection-only", role="compare", spent=0.7) for lr in (1, 2)]
    for lr, row in enumerate(rows):
        row.config["method"]["finetune"] = {"lr": lr}
        row.config["method"]["sample"] = {"steps": 3 + lr}
    a, b = (make_facts([make_record("x"), row], path=f"/{at}/demo") for at, row in enumerate(rows))
    assert [one.field for one in changes.changes(a, b)] == ["selection-only: method.sample.steps"]


def test_a_folder_without_its_sweep_says_so(folders):
    (folders[1] / "sweep.yaml").unlink()
    assert f"{folders[1]} has no sweep.yaml" in side_by_side.markdown(compare.read(folders))


# ---- fronts


def test_the_best_row_of_every_budget_stands_against_that_of_the_other(demo, folders):
    found = compare.read(folders)
    best = found.a.best(TEN, found.metrics[1])
    assert best.row.label == "privimage+d (select.ratio 0.05)" and best.cell.mean == pytest.approx(0.91)
    assert best.behind is None
    assert "the same" in side_by_side.markdown(found)


def test_a_value_that_a_smaller_epsilon_reaches_is_behind(make_facts, make_record):
    records = [make_record("a", epsilon=1, fid=20), make_record("b", epsilon=10, fid=30)]
    found = compare.of_runs(make_facts(records), make_facts([make_record("c", fid=25)], path="/else/demo"))
    best = found.a.best(TEN, found.metrics[0])
    assert best.behind == 1 and "no better than at epsilon 1" in side_by_side.markdown(found)
    assert found.b.best(ONE, found.metrics[0]) is None


def test_a_difference_is_told_where_it_is_beyond_chance(seeds):
    near = side_by_side.markdown(compare.of_runs(seeds(), seeds(0.001, "/else/demo")))
    far = side_by_side.markdown(compare.of_runs(seeds(), seeds(0.15, "/else/demo")))
    row = re.compile(r"^\| accuracy.*\| 10 \|.*$", re.M)
    assert "not told apart" in row.findall(near)[0] and "+0.15, better" in row.findall(far)[0]
    back = side_by_side.markdown(compare.of_runs(seeds(0.15, "/else/demo"), seeds()))
    assert "-0.15, worse" in row.findall(back)[0]


def test_the_hypervolume_is_of_one_box_and_has_an_interval_over_seeds(seeds):
    found = compare.of_runs(seeds(), seeds(0.1, "/else/demo"))
    one = next(v for v in found.volumes if [m.name for m in v.metrics] == [CNN])
    floor, best = 0.11, 1.0  # the largest class, and all right
    by_hand = [((0.6 + 0.01 * s - floor) + (0.8 + 0.01 * s - floor)) / 2 / (best - floor) for s in range(3)]
    assert one.a.mean == pytest.approx(np.mean(by_hand)) and one.a.n == 3
    assert one.difference.mean == pytest.approx(0.1 / (best - floor)) and one.told
    assert one.reference == ("epsilon 100", f"{CNN}† 0.11")
    assert len(list(found.volumes)) == 3  # each objective, and both together


def test_without_repetitions_no_interval_is_shown_and_that_is_said(seeds):
    text = side_by_side.markdown(compare.of_runs(seeds(n=1), seeds(0.1, "/else/demo", n=1)))
    assert "no interval" in text and "one repetition" in text and "several `seeds`" in text
    both = side_by_side.markdown(compare.of_runs(seeds(n=1), seeds(0.1, "/else/demo")))
    assert "/nowhere/demo: one repetition" in both and "95% interval" in both


def test_a_seed_that_lacks_a_row_is_no_repetition(seeds, make_facts):
    whole = seeds()
    cut = make_facts([r for r in whole.records if (r.seed, r.budget) != (2, TEN)], bill=whole.bill)
    volumes = next(iter(compare.of_runs(cut, seeds(0.1, "/else/demo")).volumes))
    assert (volumes.a.n, volumes.b.n) == (2, 3)


def test_epsilons_at_several_deltas_are_no_axis(make_facts, make_record):
    other = make_record("b", budget=Budget(epsilon=10, delta=1e-6))
    found = compare.of_runs(make_facts([make_record("a")]), make_facts([other], path="/else/demo"))
    assert list(found.volumes) == [] and "several deltas" in side_by_side.markdown(found)


# ---- spend, and what is said


def test_what_must_be_stated_stands_first_and_both_together_cost_more(folders):
    lines = side_by_side.statements(compare.read(folders))
    each, other, both = (float(re.findall(r"epsilon ([0-9.]+) at", line)[0]) for line in lines)
    assert each == other < both
    text = side_by_side.markdown(compare.read(folders))
    assert text.index(lines[0]) < text.index("## What changed")
    for part in ("epsilon of everything", "1 noisy answer", "6 search trials", "without noise: fid", "verifies"):
        assert part in text


def test_no_total_is_said_where_one_does_not_hold(make_facts, make_record):
    bill = make_facts([make_record("a")]).bill
    wrong = make_facts([make_record("a"), make_record("b", ratio=0.1)], bill=bill)
    found = compare.of_runs(wrong, make_facts([make_record("a")], path="/else/demo"))
    text = side_by_side.markdown(found)
    assert "WARNING" in text and "prices add up" not in text and "| does not hold |" in text


def test_an_unfinished_run_says_so(make_facts, make_record):
    records = [make_record("a"), make_record("b", ratio=0.1)]
    cut = make_facts(records[:1], bill=make_facts(records).bill)
    text = side_by_side.markdown(compare.of_runs(cut, make_facts(records, path="/else/demo")))
    assert "/nowhere/demo: So far 1 of 2 search trials has a result" in text


# ---- what is refused


@pytest.mark.parametrize(("field", "value"), [("id", "digits-v2"), ("test", 0.5)])
def test_other_sensitive_images_are_refused_and_other_public_ones_are_a_change(make_facts, make_record, field, value):
    other = make_record("b")
    other.config["data"]["public"]["name"] = "x"
    compare.of_runs(make_facts([make_record("a")]), make_facts([other], path="/else/demo"))
    other.config["data"]["sensitive"][field] = value
    with pytest.raises(InputError, match=rf"^data\.sensitive\.{field}: .* in /nowhere/demo.* in /else/demo") as refused:
        compare.of_runs(make_facts([make_record("a")]), make_facts([other], path="/else/demo"))
    assert "\n" not in str(refused.value)


def test_runs_without_a_metric_in_common_are_refused_and_what_one_lacks_is_told(make_facts, make_record, make_metric):
    less = make_facts([make_record("b", cnn=None)], path="/else/demo")
    text = side_by_side.markdown(compare.of_runs(make_facts([make_record("a")]), less))
    assert f"{CNN} was measured in /nowhere/demo alone." in text
    none = make_facts([make_record("b", metrics=(make_metric(CNN, 0.5),))], path="/else/demo")
    with pytest.raises(InputError, match=r"^metrics: fid.* in /else/demo, accuracy.* in /nowhere/demo"):
        compare.of_runs(less, make_facts(list(none.records)))


def test_a_run_without_privacy_has_no_front(make_facts, make_record):
    open_ = make_facts([make_record("r", method="real", role="compare", events=(OPEN,), spent=None)])
    with pytest.raises(InputError, match="no finished trial with a guarantee"):
        compare.of_runs(open_, make_facts([make_record("a")], path="/else/demo"))


def test_the_verb_refuses_in_one_line(privimage, folders, tmp_path):
    for words, why in (
        ([folders[0], folders[0]], "given twice"),
        ([folders[0], tmp_path / "none"], "no such folder"),
        ([*folders, "--figure", tmp_path / "x.pdf"], "ends in .png"),
    ):
        code, _, err = privimage("compare", *words)
        assert code == 2 and why in err and err.count("\n") == 1


# ---- the verb and its picture


def test_the_verb_prints_markdown_and_draws(privimage, folders, tmp_path):
    code, out, err = privimage("compare", *folders, "--figure", tmp_path / "both.png")
    assert (code, err) == (0, "") and out.startswith(f"# {folders[0]} and {folders[1]}\n")
    with Image.open(tmp_path / "both.png") as image:
        assert image.format == "PNG" and "State epsilon" in image.info["Description"]
    code, out, _ = privimage("compare", *folders, "--to", tmp_path / "both.md")
    assert code == 0 and "## Spend against spend" in (tmp_path / "both.md").read_text() and "both.md" in out


def test_the_picture_names_both_runs_and_what_is_reached_without_learning(folders):
    drawn = two_fronts.figure(compare.read(folders))
    texts = [text.get_text().replace("\n", "") for ax in drawn.axes for text in ax.texts]
    for folder in folders:
        assert sum(str(folder).replace("/", "") in text.replace("/", "") for text in texts) == 2
    assert any("largest class" in text for text in texts)


SCORE = Event(purpose="score", split="validation", sigma=9.0)


def test_beside_a_private_selection_nothing_tells_the_number_of_its_trials(make_facts, make_record, seeds):
    secrets = ("trials with a result", "hours of trials", "to choose from")
    more = make_facts([*seeds().records, make_record("m", method="dpdm", role="compare")], path="/else/demo")
    in_the_open = side_by_side.markdown(compare.of_runs(seeds(), more))
    assert all(word in in_the_open for word in secrets)
    bill = more.bill
    studies = tuple(study.model_copy(update={"law": Law(mean=4, eta=0), "score": SCORE}) for study in bill.studies)
    secret = make_facts(
        more.records, path="/else/demo", bill=bill.model_copy(update={"mode": "select", "studies": studies})
    )
    for pair in ((seeds(), secret), (secret, seeds())):
        said = side_by_side.markdown(compare.of_runs(*pair))
        assert not any(word in said for word in secrets)
