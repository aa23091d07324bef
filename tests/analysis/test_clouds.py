import io

import numpy as np
import pytest
from PIL import Image

from privimage.analysis import clouds
from privimage.analysis.clouds import Cloud
from privimage.errors import InputError

NAMES = ("a", "b", "c")


def cloud(seed, n=60, **fields):
    """Three groups far apart in 8 dimensions."""
    y = np.arange(n) % 3
    x = np.random.default_rng(seed).normal(size=(n, 8)) + 12 * np.eye(8)[y]
    return Cloud(title=f"set {seed}", features=x, y=y, **fields)


def test_labels_that_part_in_the_features_part_in_the_plane():
    places = clouds.embedded([cloud(0), cloud(1)])
    assert [place.shape for place in places] == [(60, 2), (60, 2)]
    every, y = np.concatenate(places), np.concatenate([cloud(0).y, cloud(1).y])
    distance = np.linalg.norm(every[:, None] - every[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (y[distance.argmin(1)] == y).all()  # the nearest point, of whichever set, has the same label


def test_the_map_repeats_and_leaves_global_random_numbers_alone():
    before = np.random.get_state()[1].copy()
    first, second = (clouds.embedded([cloud(0), cloud(1)])[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (np.random.get_state()[1] == before).all()


def test_one_image_over_and_over_has_no_map():
    with pytest.raises(InputError, match=r"^tsne: .* the same"):
        clouds.embedded([Cloud(title="one", features=np.ones((9, 8)), y=np.arange(9) % 3)])


def test_few_points_and_few_features_have_a_map():
    few = Cloud(title="few", features=np.random.default_rng(0).normal(size=(5, 3)), y=np.arange(5) % 3)
    (place,) = clouds.embedded([few])
    assert place.shape == (5, 2) and np.isfinite(place).all()


@pytest.mark.parametrize("private", [False, True])
def test_a_panel_a_set_and_real_images_are_marked(private):
    sets = [cloud(0), *([cloud(1, private=True)] if private else [])]
    drawn = clouds.figure(sets, classes=NAMES, network="net", stated=["State epsilon 3."])
    titles = [ax.get_title(loc="left") for ax in drawn.axes]
    assert titles == (["set 0", "set 1†"] if private else ["set 0"])
    grey = [c for c in drawn.axes[0].collections if (c.get_facecolor()[0][:3] == np.array([0xC4] * 3) / 255).all()]
    assert len(grey) == private
    said = drawn.get_supxlabel()
    assert "State epsilon 3." in said and ("PRIVATE" in said) == private


def test_it_is_a_png_that_says_what_must_be_stated():
    made = clouds.draw([cloud(0)], classes=NAMES, network="net", stated=["State epsilon 3."])
    with Image.open(io.BytesIO(made)) as image:
        assert image.format == "PNG" and image.info["Description"] == "State epsilon 3."
