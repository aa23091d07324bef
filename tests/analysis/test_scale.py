"""A conclusion needs a margin over its standard error, and is measured against guessing and against real images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from privimage.analysis import beside, scale, tables
from privimage.privacy.budget import Budget

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"
TEN = Budget(epsilon=10, delta=1e-5)


def alone(make_record, fid, cnn, **fields):
    name = fields.pop("method", "selection-only")
    return make_record(name, method=name, role="compare", fid=fid, cnn=cnn, spent=0.73, **fields)


def verdict(make_record, make_facts, mine, other, method="selection-only"):
    rival = make_record("other", method=method, role="compare", fid=other[0], cnn=other[1], spent=0.73)
    return beside.sentences(make_facts([make_record("a", fid=mine[0], cnn=mine[1]), rival]), TEN)[0]


def test_a_quarter_of_a_point_on_a_thousand_images_is_no_conclusion(make_record, make_facts):
    said = verdict(make_record, make_facts, (40, 0.6925), (41, 0.69))
    assert said.endswith(": no difference can be told from chance.")
    assert "0.25 ± 4.1 points of accuracy[cnn]† higher" in said


def test_the_expected_order_is_no_finding_where_both_guess(make_record, make_facts):
    said = verdict(make_record, make_facts, (40, 0.124), (41, 0.101), method="pdp-diffusion")
    assert "guesses by accuracy[cnn]†, as pdp-diffusion does, (" in said and "(better)" not in said
    assert said.endswith(": no difference can be told from chance.")


def test_the_spread_is_the_binomial_one_of_the_test_split(make_record, make_metric):
    """Against scores drawn from the law itself: the difference of two equal methods is told in about 5 of 100 cases."""
    rng, n = np.random.default_rng(0), 1000
    pairs = rng.binomial(n, 0.7, (2000, 2)) / n
    told = 0
    for a, b in pairs:
        left, right = (scale.estimate([make_record("x", cnn=float(v))], CNN) for v in (a, b))
        told += left.told_from(right)
    assert 0.03 < told / len(pairs) < 0.07


def test_seeds_add_the_spread_over_them(make_record):
    runs = [make_record(str(i), seed=i, fid=fid, cnn=cnn) for i, (fid, cnn) in enumerate([(40, 0.5), (50, 0.7)])]
    one, both = scale.estimate(runs[:1], CNN), scale.estimate(runs, CNN)
    assert both.value == pytest.approx(0.6)
    assert both.error == pytest.approx(2 * math.sqrt(0.6 * 0.4 / 1000 + 0.02 / 2)) and both.error > one.error
    assert scale.estimate(runs[:1], FID).error is None and scale.estimate(runs, FID).error == pytest.approx(10)


def test_trials_of_other_settings_are_no_seeds(make_record):
    a, b, c = make_record("a", seed=0), make_record("b", seed=1), make_record("c", seed=1, ratio=0.1)
    assert [r.id for r in scale.same_settings(a, [a, b, c])] == ["a", "b"]


def test_with_one_seed_the_reader_is_told_what_is_unknown(make_record, make_facts):
    said = beside.sentences(make_facts([make_record("a"), alone(make_record, 50, 0.5)]), TEN)[-1]
    assert "one seed each, so the spread over trainings is unknown" in said and "another draw may move" in said


def test_base_rates_stand_in_every_table(make_record, make_facts, demo):
    from privimage.analysis import facts
    from privimage.analysis.report import html

    rows = dict(scale.base_rows(make_facts([make_record("a")])))
    assert [row[CNN] for row in rows.values()] == [0.1, 0.11] and all(row[FID] is None for row in rows.values())
    assert list(tables.best(facts.read(demo))["method"])[-2:] == list(rows)
    page = html(facts.read(demo))
    results = [part.split("</table>")[0] for part in page.split("<table")[1:] if CNN in part.split("</table>")[0]]
    assert len(results) == 3 and all(all(title in table for title in rows) for table in results)


def test_far_from_real_is_said_in_words_with_the_knobs(make_record, make_facts):
    real = make_record("real", method="real", role="compare", fid=0.2, cnn=0.98, spent=None)
    said = " ".join(scale.sentences(make_facts([make_record("a", fid=39.4, cnn=0.12), real])))
    assert "Far from real: the best trial has fid[efficientnet-lite0]† 39.4, real training images 0.2" in said
    assert (
        "Not told from guessing: the best trial by fid[efficientnet-lite0]† has accuracy[cnn]† 0.12" in said
        and "method.pretrain.images" in said
    )
    near = scale.sentences(make_facts([make_record("a", fid=0.3, cnn=0.9), real]))
    assert near == []
    assert "add `real` to compare" in scale.sentences(make_facts([make_record("a", fid=0.3, cnn=0.9)]))[-1]


def test_a_guess_is_not_told_from_its_base_rate_and_the_knobs_are_said_once(make_record, make_facts):
    real = make_record("real", method="real", role="compare", fid=0.2, cnn=0.98, spent=None)
    said = scale.sentences(make_facts([make_record("a", fid=39.4, cnn=0.12), real]))
    turned = [line for line in said if line.startswith("Free of privacy: ")]
    assert turned == said[-1:] and "select.ratio" in turned[0] and "pool.views" not in turned[0]
    guess = next(sentence for sentence in said if "guessing" in sentence)
    assert "accuracy[cnn]† 0.12 ± 0.0" in guess and "always naming the largest class gives 0.11" in guess
