"""What a report and a card say of how near images are to public ones is what the artefact holds."""

import re
from dataclasses import replace

import numpy as np
import pytest

from privimage.analysis import facts, nearest
from privimage.analysis.export import pull_best
from privimage.analysis.report import html
from privimage.stores.store import Built

TITLE = "How near the images are to public ones"


def arrays(images, *, distance=0.123, others=7, scale=0.345):
    """Of the 40 images of 10 labels: those of the first 30 count, of which `others` have a neighbour elsewhere."""
    sample, n = np.arange(40), 30
    spread = np.where(np.arange(40) < n, distance + np.linspace(-0.02, 0.02, 40) * (np.arange(40) % 2 * 2 - 1), 0.9)
    spread[:n] += distance - np.median(spread[:n])
    return {
        "sample": sample, "distance": spread, "other": sample < others, "counted": sample < n,
        "shown": sample < 20, "nearest": images["x"][::-1][:20].copy(), "scale": np.full(9, scale),
    }  # fmt: skip


@pytest.fixture
def run(make_run, make_record, make_images, also):
    """A run of one trial whose nearest public images are known, and of a row with internal ones."""

    def make(record="a", *, privacy="released", start="noise", **options):
        first = make_record(record, method="privimage+m")
        first.config["method"]["sample"] |= {"start": start, "start_at": 0.7}
        folder = make_run([first, make_record("open", method="nonprivate-tune", role="compare", spent=None)])
        found = facts.read(folder)
        for kept in found.records:
            built = Built(
                arrays=arrays(make_images(seed=5), **options), privacy=privacy if kept.private else "internal",
                events=kept.events, meta={"public": "glyphs"},
            )  # fmt: skip
            found.store.put("nearest", kept.id, built)
            also(folder, "nearest", kept.id, of=kept.id)
        return folder

    return make


def test_the_report_says_the_numbers_of_the_artefact(run):
    text = html(facts.read(run()))
    section = text[text.index(f">{TITLE}</h2>") :]
    section = section[: section.index("<h2", 10)]
    assert "Over 30 images, the median distance to the nearest of those public images is 0.123" in section
    assert "all that training saw of public images is 0.345 from the nearest other one" in section
    assert "For 23.4% of them the nearest public image was chosen for another label" in section
    assert "The generator was trained on images of the public set glyphs that were chosen for each label" in section
    assert re.findall(r'<td[^>]*data-label="(?:distance|among|another)[^"]*"[^>]*>([^<]*)', section) == [
        "0.123", "0.345", "23.4%"
    ]  # fmt: skip
    assert section.count("<figure>") == 10 and "Images of 3, and below each the nearest public image, at 0." in section
    assert section.count("nonprivate-tune") == 0, "internal ones are not shown"


def test_a_wrong_share_is_seen(run):
    """The number follows from the artefact: another artefact, another number."""
    near = nearest.of_record(*known(run(others=12)))
    assert near.share == pytest.approx(0.4) and "For 40% of them" in near.sentences()[1]
    assert "For none of them" in replace(near, share=0.0).sentences()[1]


def known(folder):
    found = facts.read(folder)
    return found.store, found.records[0]


def test_images_that_started_from_public_ones_are_called_variations(run):
    said = nearest.of_record(*known(run(start="anchors"))).sentences()[0]
    assert said.startswith(
        "Each image started from an image of the public set glyphs, changed by noise of level 0.7 and denoised: it is "
        "a variation of it."
    )


def test_internal_ones_and_trials_that_were_made_before_are_not_shown(run, demo):
    assert nearest.of_record(*known(run(privacy="internal"))) is None
    found = facts.read(demo)
    assert all(nearest.of_record(found.store, record) is None for record in found.records)
    assert TITLE not in html(found)


def test_a_row_without_privacy_is_not_shown_whatever_its_artefact_says(run):
    found = facts.read(run())
    found.store.put(
        "nearest", "x", Built(arrays=arrays({"x": np.zeros((40, 1, 28, 28), np.uint8)}), privacy="released")
    )
    record = found.records[1].model_copy(update={"artefacts": {**found.records[1].artefacts, "nearest": "x"}})
    assert not record.private and nearest.of_record(found.store, record) is None


def test_the_card_says_the_same_numbers(run, tmp_path):
    folder = run()
    pull_best(folder, epsilon=None, metric=None, to=tmp_path / "bundle")
    card = (tmp_path / "bundle" / "card.md").read_text()
    near = nearest.of_record(*known(folder))
    quality = card[card.index("## Quality") : card.index("## How to draw images")]
    assert all(sentence in quality for sentence in near.sentences()) and "23.4%" in quality


def test_pairs_stand_below_each_other_with_their_distance(run, make_images):
    near = nearest.of_record(*known(run()))
    pairs, images = near.pairs[3], make_images()
    assert np.array_equal(pairs.x, images["x"][[3, 13]]) and pairs.label == "3"
    assert np.array_equal(pairs.nearest, make_images(seed=5)["x"][::-1][[3, 13]])
    assert [text.endswith("*") for text in pairs.distances] == [True, False]
    picture = pairs.picture()
    assert picture.shape == (2 * (28 + 1 + 28) + nearest.LINE, 2 * (28 + 1 + 28), 3)
    assert np.array_equal(picture[:56:2, :56:2, 0], pairs.x[0, 0])
    assert np.array_equal(picture[58:114:2, :56:2, 0], pairs.nearest[0, 0])
    assert (picture[114:] < 200).any(), "the distances"


def test_without_another_public_image_there_is_no_scale(run):
    folder = run()
    store, record = known(folder)
    alone = arrays({"x": np.zeros((40, 1, 28, 28), np.uint8)}) | {"scale": np.zeros(0)}
    store.put("nearest", "b", Built(arrays=alone, privacy="released", meta={"public": "glyphs"}))
    near = nearest.of_record(store, record.model_copy(update={"artefacts": {**record.artefacts, "nearest": "b"}}))
    assert near.scale is None and "nearest other one" not in near.sentences()[0]
