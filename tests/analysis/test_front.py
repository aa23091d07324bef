import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from quick import first

from privimage.analysis import facts, front
from privimage.errors import InputError

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"


def size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_write_front_leaves_a_picture_and_every_trial_as_csv(demo):
    best = front.write_front(demo)
    assert set(best["method"]) >= {"privimage+d", "pdp-diffusion", "real"}
    assert size(demo.front("png").read_bytes())[0] == 9 * front.DPI
    assert len(pd.read_csv(demo.front("csv"))) == 15


def test_a_panel_for_accuracy_only_where_it_was_measured(make_record, make_facts):
    both = make_facts([make_record("a")])
    one = make_facts([make_record("a", cnn=None)])
    assert [m.name for m in front.panels(both)] == [FID, CNN]
    assert [m.name for m in front.panels(one)] == [FID]
    assert size(front.draw_front(both))[1] > size(front.draw_front(one))[1]


def test_the_metric_asked_for_is_the_only_panel(demo):
    assert [m.name for m in front.panels(facts.read(demo, by=CNN))] == [CNN]
    with pytest.raises(InputError, match="allowed"):
        front.write_front(demo, metric="fid")


def test_unknown_methods_get_a_colour_of_their_own(make_record, make_facts):
    order = ["privimage+d", "new", "other"]
    assert len({front.style(name, order) for name in order}) == 3
    records = [make_record("a", method="new"), make_record("b", method="other", role="compare", epsilon=1)]
    assert len(front.draw_front(make_facts(records))) > 1000


@pytest.mark.parametrize("spent", first([0.0, None, 0.001]))
def test_rows_that_have_no_place_on_the_axis_are_drawn_as_lines(make_record, make_facts, spent):
    records = [make_record("a"), make_record("b", method="real", role="compare", spent=spent)]
    assert front.draw_front(make_facts(records)) != front.draw_front(make_facts(records[:1]))
    assert len(front.draw_front(make_facts(records[1:]))) > 1000  # nothing private to draw at all


def test_labels_are_moved_apart():
    moved = front.spread([0.5, 0.52, 0.1, 0.5], gap=0.1)
    assert np.diff(sorted(moved)).min() > 0.099
    assert moved[2] == 0.1


def test_labels_near_the_top_stay_inside():
    moved = front.spread([0.99, 0.98, 0.97], gap=0.1)
    assert max(moved) <= 1 and np.diff(sorted(moved)).min() > 0.099


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        (FID, [0.2, 35.0], "log"),  # as that of real images beside that of a method that learned nothing
        (FID, [2.0, 35.0], "linear"),
        (FID, [0.0, 35.0], "linear"),
        (FID, [], "linear"),
        (CNN, [0.02, 0.98], "linear"),  # a share
    ],
)
def test_values_that_lie_far_apart_have_a_logarithmic_axis(make_metric, name, values, scale):
    ax = Figure().subplots()
    front.stretch(ax, make_metric(name, 1.0), values)
    assert ax.get_yscale() == scale


def test_a_line_has_its_label_beside_it_on_either_axis():
    for yscale, height in (("linear", 0.01), ("log", 0.5)):
        ax = Figure().subplots()
        ax.set_yscale(yscale)
        ax.set_ylim(0.01, 100)
        front._reference_lines(ax, [(1.0, "here", "black")])
        (label,) = ax.texts
        assert label.xyann[1] == pytest.approx(height, abs=0.01)
