"""The picture of a table: every row as a line, with its errors and its name."""

import io

import numpy as np
import pytest
from PIL import Image

from privimage.analysis import curves, table, typeset
from privimage.privacy.budget import Event

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"
QUERY = Event(purpose="query", split="train", sigma=5.0, shared="00ff")


def texts(found):
    drawn = curves.figure(found)
    labels = {" ".join(text.get_text().split()) for ax in drawn.axes for text in ax.texts}
    return labels, {ax.get_title("left") for ax in drawn.axes}


def test_every_line_has_its_name_at_its_end(demo):
    found = table.read([demo.path])
    labels, titles = texts(found)
    assert labels == {row.label for row in (*found.rows, *found.open_rows)} | {"chance", "largest class†"}
    assert titles == {f"{FID}† (lower is better)", f"{CNN}† (higher is better)"}


def test_errors_are_drawn_where_there_are_some(roots):
    (bars,) = [line for ax in curves.figure(table.of_runs(roots())).axes[1:] for line in ax.collections]
    values = [found.records[0].value(CNN) for found in roots()]
    error = np.std(values, ddof=1) / np.sqrt(3)
    ((_, low), (_, high)) = bars.get_segments()[0]
    assert (low, high) == pytest.approx((np.mean(values) - error, np.mean(values) + error))


def test_a_row_of_its_own_price_is_drawn_there_and_on_to_the_right(demo):
    ax = curves.figure(table.read([demo.path])).axes[1]
    flat = [line for line in ax.lines if list(line.get_ydata()) == [0.55, 0.55]]
    assert [line.get_xdata()[0] for line in flat] == [pytest.approx(0.73)]
    assert flat[0].get_xdata()[1] == pytest.approx(ax.get_xlim()[1])


def test_the_picture_is_a_png_that_says_what_must_be_stated(demo):
    found = table.read([demo.path])
    picture = Image.open(io.BytesIO(curves.draw(found)))
    assert picture.format == "PNG" and picture.size[0] >= 1500
    assert picture.text["Description"] == typeset.statements(found)[0]


@pytest.mark.parametrize("spent", [0.0, 0.001])
def test_a_price_that_has_no_place_on_the_axis_is_drawn_as_a_line(make_facts, make_record, spent):
    only = make_record("s", method="selection-only", role="compare", events=(QUERY,), spent=spent)
    drawn = curves.figure(table.of_runs([make_facts([make_record("a"), only])]))
    assert drawn.axes[0].get_xlim()[0] > 1
