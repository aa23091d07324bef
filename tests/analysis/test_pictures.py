import io

import numpy as np
import pytest
from PIL import Image

from analysis import facts, pictures
from analysis.pictures import Samples
from privimage.store import Built


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


def test_panels_stand_by_epsilon_and_method(demo):
    panels = pictures.best_panels(facts.read(demo))
    assert [panel.title for panel in panels] == [
        "privimage+d, epsilon 1",
        "pdp-diffusion, epsilon 1",
        "dpdm, epsilon 1",
        "random-selection, epsilon 1",
        "privimage+d, epsilon 10",
        "pdp-diffusion, epsilon 10",
        "dpdm, epsilon 10",
        "random-selection, epsilon 10",
        "selection-only, epsilon 0.73",
    ]
    assert panels[0].record.id == "search-1-1"
    assert Image.open(io.BytesIO(pictures.draw_panels(panels[:4]))).size[0] > 900
