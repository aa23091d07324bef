import io

import pytest
from PIL import Image

from privimage.analysis import against, table, typeset
from privimage.errors import InputError

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"
RATIO = ["method.select.ratio"]


@pytest.fixture(scope="module")
def found(demo):
    return table.read([demo.path])


def lines(found, name=FID, fields=RATIO):
    return {line.name: line for line in against.lines(found, found.metrics[name], fields)}


def test_rows_that_differ_in_the_setting_alone_are_a_line_at_each_budget(found):
    at = {
        name: [(value, cell.mean) for value, cell in line.cells]
        for name, line in lines(found).items()
        if line.method == "privimage+d"
    }
    assert at == {
        "privimage+d (epsilon\N{NO-BREAK SPACE}1)": [(0.03, 72), (0.05, 55), (0.1, 61)],
        "privimage+d (epsilon\N{NO-BREAK SPACE}10)": [(0.03, 57), (0.05, 40), (0.1, 46)],
    }


def test_what_has_no_such_setting_lies_across(found):
    across = {line.method for line in lines(found).values() if line.across}
    assert {"dpdm", "real"} <= across and "privimage+d" not in across


def test_a_row_that_is_the_same_at_every_budget_is_drawn_once(found):
    assert [name for name in lines(found) if name.startswith("selection-only")] == ["selection-only"]


def test_other_settings_part_lines_unless_they_are_named_too(make_facts, make_record):
    records = [make_record("a", ratio=0.05), make_record("b", ratio=0.1, fid=40)]
    records[1].config["method"]["query"] = {"k1": 10}
    found = table.of_runs([make_facts(records)])
    assert len(lines(found)) == 2
    assert len(lines(found, fields=[*RATIO, "method.query.k1"])) == 1


def test_words_stand_at_even_distances(make_facts, make_record):
    records = [make_record("a"), make_record("b", fid=40)]
    records[1].config["method"]["model"] = {"size": "unet-xs"}
    found = table.of_runs([make_facts(records)])
    ax = against.figure(found, ["method.model.size"]).axes[-1]
    assert {tick.get_text() for tick in ax.get_xticklabels()} == {"dct-mlp-192", "unet-xs"}
    assert sorted(ax.get_xticks()) == [0, 1]


def test_every_line_has_its_name_at_its_end(found):
    for ax, name in zip(against.figure(found, RATIO).axes, found.metrics, strict=True):
        said = {" ".join(text.get_text().split()) for text in ax.texts}
        drawn = {" ".join(line.name.split()) for line in against.lines(found, found.metrics[name], RATIO)}
        assert drawn <= said


def test_far_values_are_on_a_logarithmic_axis(make_facts, make_record):
    for ratio, scale in ((0.1, "linear"), (0.9, "log")):
        found = table.of_runs([make_facts([make_record("a", ratio=0.01), make_record("b", ratio=ratio, fid=40)])])
        assert against.figure(found, RATIO).axes[0].get_xscale() == scale


def test_the_picture_is_a_png_that_says_what_must_be_stated(privimage, demo, found, tmp_path):
    to = tmp_path / "ratio.png"
    code, _, err = privimage("table", demo.path, "--figure", to, "--against", RATIO[0])
    assert code == 0 and not err
    picture = Image.open(io.BytesIO(to.read_bytes()))
    assert picture.text["Description"] == typeset.statements(found)[0]


def test_what_is_no_setting_of_a_method_is_refused(found):
    with pytest.raises(InputError, match="--against: no row of these runs has 'compare"):
        against.figure(found, ["compare"])


def test_an_unknown_setting_is_refused_by_the_nearest_one(found):
    with pytest.raises(
        InputError, match=r"--against: no row .* has 'method\.select\.ration'; .* method\.select\.ratio$"
    ):
        against.figure(found, ["method.select.ration"])


def test_an_axis_without_a_picture_is_refused(privimage, demo):
    code, _, err = privimage("table", demo.path, "--against", RATIO[0])
    assert code == 2 and "--against" in err and "--figure" in err
