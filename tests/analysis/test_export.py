import hashlib
import json

import pytest

from privimage.analysis import card, facts
from privimage.analysis.export import pull_best
from privimage.errors import InputError
from privimage.privacy.budget import Event
from privimage.stores.file import FileStore
from privimage.stores.manifest import Manifest

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"


def test_the_best_private_search_trial_is_written_with_its_statement(demo, tmp_path):
    to = tmp_path / "new" / "best"
    assert pull_best(demo, epsilon=10, metric=CNN, to=to).config.trial == "search-10-1"
    assert sorted(path.name for path in to.iterdir()) == ["card.md", "config.json", "model.safetensors", "samples.png"]
    config = json.loads((to / "config.json").read_text())
    assert config["model_sha256"] == hashlib.sha256((to / "model.safetensors").read_bytes()).hexdigest()
    assert config["shape"] == [1, 28, 28] and config["classes"] == list("0123456789") and config["sample"]["steps"] == 3
    assert not list(to.parent.glob(".draft*"))


def test_the_card_states_the_whole_price(demo, tmp_path):
    pull_best(demo, epsilon=10, metric=CNN, to=tmp_path / "best")
    card = (tmp_path / "best" / "card.md").read_text()
    for words in (
        "Had this trial been the only one: epsilon 9.9995 at delta 1e-05",
        "RDP",
        "one image together with its label",
        "query sigma=5",
        "**State epsilon ",
        "It pays for 1 noisy answer, 6 search trials and 6 comparison rows with dp-sgd",
        "chosen among 3 search trials at this budget, by accuracy[cnn]†; 7 comparison rows with a guarantee, on the",
        "touches the private-test split without noise: the choice is covered by no epsilon",
        "digits-v1",
        "glyphs",
        "| accuracy[cnn]† | ↑ | 0.91 | 20 | synthetic, private-test | 0.1 | 0.11 | 0.985 |",
        "† computed from the sensitive images without noise",
        "privimage sample",
        "dp-accounting 0.6.0",
    ):
        assert words in card, words


def test_names_of_classes_break_no_line_of_the_card(demo, tmp_path):
    config = pull_best(demo, epsilon=10, metric=CNN, to=tmp_path / "best").config
    config = config.model_copy(update={"classes": ("cat\n# No noise", "\x1b[31mowl", "größe")})
    found = facts.read(demo)
    text = card.write_card(found, found.records[0], config, metric=CNN, among=found.records[:1])
    assert r"(cat\n# No noise, \x1b[31mowl, größe)" in text and "\x1b" not in text and "\n# No" not in text


MEANS = Event(purpose="means", split="train", sigma=3.0, shared="0a1b")
CHOSEN = "chosen by noisy answers of the sensitive set `digits-v1`; no image of that was trained on"
TRAINED = "It was trained on the sensitive set `digits-v1`"


@pytest.mark.parametrize(
    ("fields", "said", "unsaid"),
    [({"method": "privimage+m", "events": (MEANS,)}, CHOSEN, TRAINED), ({"method": "privimage+d"}, TRAINED, CHOSEN)],
)
def test_the_card_says_whether_sensitive_images_were_trained_on(make_run, make_record, tmp_path, fields, said, unsaid):
    pull_best(make_run([make_record("a", **fields)]), epsilon=10, metric=CNN, to=tmp_path / "best")
    card = (tmp_path / "best" / "card.md").read_text()
    assert f"Method {fields['method']}," in card and said in card and unsaid not in card


def test_without_an_epsilon_the_best_of_all_budgets_is_pulled(demo, tmp_path):
    assert pull_best(demo, epsilon=None, metric=FID, to=tmp_path / "a").config.trial == "search-10-1"
    assert "This trial was chosen among 6 search trials of all budgets, by fid" in (tmp_path / "a/card.md").read_text()
    assert pull_best(demo, epsilon=1, metric=FID, to=tmp_path / "b").config.trial == "search-1-1"


def test_what_cannot_be_pulled_is_refused_naming_what_can(demo, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    for options, message in (
        ({"epsilon": 3, "metric": CNN}, "epsilon: got 3; allowed: 1, 10"),
        ({"epsilon": 10, "metric": "sds"}, "metric: got 'sds'; allowed: fid.*accuracy"),
        ({"epsilon": 10, "metric": CNN, "to": full}, "not an empty folder"),
    ):
        with pytest.raises(InputError, match=message) as error:
            pull_best(demo, **({"to": tmp_path / "best"} | options))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "best").exists()


def test_a_trial_without_privacy_is_never_pulled(make_run, make_record, tmp_path):
    better = make_record("open", fid=1, cnn=0.99, spent=None)
    folder = make_run([better, make_record("private")])
    assert pull_best(folder, epsilon=10, metric=CNN, to=tmp_path / "best").config.trial == "private"
    assert "This trial is the only search trial at this budget that has " in (tmp_path / "best/card.md").read_text()


def test_a_run_without_any_private_trial(make_run, make_record, tmp_path):
    with pytest.raises(InputError, match="no trial has a privacy guarantee"):
        pull_best(make_run([make_record("open", spent=None)]), epsilon=None, metric=CNN, to=tmp_path / "best")


def forge(folder, record_id, kind, **changes):
    path = FileStore(folder.root.store).folder(kind, record_id) / "manifest.json"
    path.write_text(Manifest.model_validate(json.loads(path.read_text()) | changes).sealed().model_dump_json())


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("model", {"privacy": "internal"}, "internal and never leaves"),
        ("samples", {"privacy": "internal"}, "may not be shown"),
        ("model", {"events": []}, "not made at the price"),
        ("model", {"sha256": "0" * 64}, "damaged; run the sweep again"),
    ],
)
def test_internal_mispriced_and_damaged_artefacts_are_refused(make_run, make_record, tmp_path, kind, changes, message):
    folder = make_run([make_record("a")])
    forge(folder, "a", kind, **changes)
    with pytest.raises(InputError, match=message):
        pull_best(folder, epsilon=10, metric=CNN, to=tmp_path / "best")
    assert not (tmp_path / "best").exists()


def test_weights_that_do_not_fit_are_refused_before_they_are_given_away(make_run, make_record, tmp_path):
    record = make_record("a")
    record.config["method"]["model"]["size"] = "dct-mlp-512"
    with pytest.raises(InputError, match="not the weights of a dct-mlp-512"):
        pull_best(make_run([record]), epsilon=10, metric=CNN, to=tmp_path / "best")


def test_a_place_that_cannot_be_written_is_one_line(make_run, make_record, monkeypatch, capsys):
    from privimage.sweeps.cli import main

    folder = make_run([make_record("a")])
    for place in ("front.png", "report.html"):
        (folder.path / place / "in the way").mkdir(parents=True)
    for verb, *options, says in (
        ("front", "front.png: cannot be read or written (Is a directory); give another place"),
        ("report", "report.html: "),
        ("best", "--to", "/dev/null/x", "/dev/null/x: cannot be written (File exists); name another folder"),
    ):
        monkeypatch.setattr("sys.argv", ["privimage", verb, str(folder.path), *options])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr().err
        assert caught.value.code == 2 and says in said and said.startswith("privimage: ") and said.count("\n") == 1
