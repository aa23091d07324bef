import io

import numpy as np
import pytest
from PIL import Image

from privimage.analysis import facts, pictures
from privimage.analysis.pictures import Samples
from privimage.stores.store import Built


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_labels_and_columns_are_images(channels):
    x = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, channels, 4, 6), np.uint8)
    picture = pictures.grid(Samples(x=x, y=np.array([0, 1, 0, 1, 1])), columns=3)
    assert picture.shape == (2 * 5 - 1, 3 * 7 - 1, 3)
    middle = picture[2::5, 3::7, 0]
    assert middle.tolist() == [[0, 2, 255], [1, 3, 4]]  # white where there is no image


def test_colours_keep_their_channels():
    x = np.zeros((1, 3, 2, 2), np.uint8)
    x[:, 0] = 200
    assert pictures.grid(Samples(x=x, y=np.array([0])), columns=1)[0, 0].tolist() == [200, 0, 0]


def test_small_images_are_enlarged_and_long_lists_of_labels_cut():
    x = np.zeros((50, 1, 28, 28), np.uint8)
    samples = Samples(x=x, y=np.arange(50))
    assert Image.open(io.BytesIO(pictures.enlarged(samples, columns=1))).size == (56, 2 * (20 * 29 - 1))
    assert Image.open(io.BytesIO(pictures.enlarged(samples, columns=1, rows=None))).size[1] == 2 * (50 * 29 - 1)


def test_internal_samples_are_never_drawn(demo):
    found = facts.read(demo)
    shown = {r.method for r in found.records if pictures.samples_of(found.store, r) is not None}
    assert shown == {"privimage+d", "pdp-diffusion", "dpdm", "random-selection", "selection-only"}


def test_a_private_record_with_an_internal_artefact_is_not_drawn(make_run, make_record, make_images):
    found = facts.read(make_run([make_record("a")]))
    found.store.put("samples", "secret", Built(arrays=make_images(), privacy="internal"))
    record = found.records[0].model_copy(update={"artefacts": {"samples": "secret"}})
    assert pictures.samples_of(found.store, record) is None


def test_rows_carry_the_names_of_their_labels(make_record, make_run, make_images):
    folder = make_run([make_record("a")])
    found = facts.read(folder)
    found.store.put(
        "samples", "named", Built(arrays=make_images(), privacy="released", meta={"classes": list("abcdefghij")})
    )
    record = found.records[0].model_copy(update={"artefacts": {"samples": "named"}})
    samples = pictures.samples_of(found.store, record)
    assert samples.classes == tuple("abcdefghij")
    bare, named = (Image.open(io.BytesIO(pictures.enlarged(samples, names=n))) for n in ((), ["zero"] * 10))
    margin = np.asarray(named)[:, : named.width - bare.width]
    assert named.height == bare.height and margin.min() < 100
    assert [(margin[row * 58 : row * 58 + 56] < 100).any() for row in range(10)] == [True] * 10


def test_what_has_to_be_stated_travels_in_the_picture(demo):
    from privimage.analysis.front import draw_front

    found = facts.read(demo)
    for png in (pictures.enlarged(pictures.best_panels(found)[0].samples, stated="State it."), draw_front(found)):
        assert Image.open(io.BytesIO(png)).text["Description"].startswith("State ")


def test_panels_stand_by_epsilon_and_method(demo):
    panels = pictures.best_panels(facts.read(demo))
    assert [panel.title for panel in panels] == [
        "privimage+d, budget 1",
        "pdp-diffusion, budget 1",
        "dpdm, budget 1",
        "random-selection, budget 1",
        "privimage+d, budget 10",
        "pdp-diffusion, budget 10",
        "dpdm, budget 10",
        "random-selection, budget 10",
        "selection-only, epsilon 0.73 alone",
    ]
    assert panels[0].record.id == "search-1-1"
    assert Image.open(io.BytesIO(pictures.draw_panels(panels[:4]))).size[0] > 900
