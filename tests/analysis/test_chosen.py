"""What a report shows of public images that were chosen to meet noisy means."""

import numpy as np
import pytest

from privimage.analysis import chosen, facts
from privimage.analysis.report import html
from privimage.stores.store import Built

TITLE = "Which public images were chosen"


def tilted(**changed):
    label = np.repeat([0, 1], [4, 2])
    arrays = {
        "index": np.arange(6), "label": label, "weight": np.array([0.2, 0.1, 0.1, 0.1, 0.25, 0.25]),
        "shown": np.array([0, 1, 4]), "examples": np.zeros((3, 1, 28, 28), np.uint8),
        "classes": np.array([[0, 1], [2, 0]]), "shares": np.array([[0.75, 0.25], [0.998, 0.002]]),
    }  # fmt: skip
    return arrays | changed


META = {"labels": ["cat", "dog"], "public": "glyphs", "selected": [["A", "B"], ["C", "A"]], "pool": 24000}


@pytest.fixture
def found(make_run, make_record, also):
    def make(privacy="released", **changed):
        folder = make_run([make_record("a", method="privimage+m"), make_record("b")])
        run = facts.read(folder)
        arrays = {name: value for name, value in tilted(**changed).items() if value is not None}
        run.store.put("tilted", "t", Built(arrays=arrays, privacy=privacy, meta=META))
        also(folder, "tilted", "t", of="a")
        return facts.read(folder)

    return make


def test_the_report_shows_the_heaviest_images_and_the_classes_that_the_weight_is_on(found):
    run = found()
    text = html(run)
    section = text[text.index(f">{TITLE}</h2>") :]
    section = section[: section.index("<h2", 10)]
    assert "A (75%), B (25%)" in section and "C (100%)" in section and "A (0%)" not in section
    assert "privimage+m, trial a" in section and "Of 24,000 images, variations counted" in section
    assert section.count("<figure>") == 2 and "The public images that weigh most for dog" in section
    of = chosen.chosen_of(run)
    assert of.effective(0) == pytest.approx(0.5**2 / 0.07) and of.effective(1) == pytest.approx(2)
    assert of.effective() == pytest.approx(1 / 0.195)
    assert ">4</td>" in section and ">2</td>" in section and "effective number of 5 over all labels" in section


@pytest.mark.parametrize("changed", [{"privacy": "internal"}, {"examples": None}])
def test_what_is_internal_or_was_made_before_is_not_shown(found, changed):
    run = found(**changed)
    assert chosen.chosen_of(run) is None and TITLE not in html(run)


def test_a_run_whose_methods_choose_no_images_says_nothing(demo):
    assert chosen.section(facts.read(demo)) == []
