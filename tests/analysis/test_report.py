import re

import pytest

from privimage.analysis.report import write_report


@pytest.fixture(scope="module")
def html(demo):
    return write_report(demo).read_text()


def test_every_trial_and_its_budget_line_are_in_the_report(html, demo_rows):
    for record in demo_rows:
        assert html.count(record.id[:8]) >= 2 and record.id in html
    assert html.count("dp-sgd sigma=2 q=0.5 steps=50") >= 3


def test_the_bill_comes_first(html):
    order = [
        'id="privacy"', "What no epsilon covers", 'id="quality-against-epsilon"', 'id="against-the-comparison-rows"',
        'id="images"', 'id="all-trials"', "What each trial was, took and spent", 'id="fine-print"',
    ]  # fmt: skip
    places = [html.index(text) for text in order]
    assert places == sorted(places)
    assert "State epsilon" in html[: places[0]]


def test_the_report_says_what_is_not_covered_and_how_the_order_is(html):
    for words in (
        "Not covered: the values of fid[efficientnet-lite0]† and accuracy[cnn]†",
        "Not covered: the choice itself",
        "2 comparison rows without privacy (nonprivate-tune and real)",
        "the expected order holds",
        "Unit of privacy: one image together with its label",
        "add or remove one example",
        "dp-accounting 0.6.0",
        "Tuning mode explore",
    ):
        assert words in html


def test_non_private_numbers_never_stand_without_their_mark(html):
    visible = re.sub(r"<style>.*?</style>|\"[^\"]*\"", "", html, flags=re.DOTALL)
    for name in ("fid[efficientnet-lite0]", "accuracy[cnn]"):
        assert visible.count(name) == visible.count(name + "†") > 0
    assert "† computed from the sensitive images without noise" in html


def test_nothing_is_loaded_from_outside(html):
    assert "<script" not in html and "<link" not in html and "@import" not in html and "url(" not in html
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[^\"]*", "", html))
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', html))
    assert "prefers-color-scheme: dark" in html


def test_images_of_rows_without_privacy_are_not_in_the_report(html):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert len(captions) == 9
    assert not any("nonprivate" in caption or "real" in caption for caption in captions)


def test_text_from_the_records_is_escaped(make_run, make_record):
    evil = '<img src=x onerror="alert(1)">'
    records = [
        make_record("a", method=evil, config={"x": {evil: 1}}, versions={"v": evil}),
        make_record("b", method=evil, config={"x": {evil: evil}}),
    ]
    html = write_report(make_run(records)).read_text()
    assert evil not in html
    assert "&lt;img src=x onerror=" in html


def test_a_run_of_one_trial_has_a_report(make_run, make_record):
    html = write_report(make_run([make_record("only", cnn=None)])).read_text()
    assert "There is no comparison row at this budget" in html
