from privimage.analysis import beside
from privimage.privacy.budget import Budget

TEN = Budget(epsilon=10, delta=1e-5)
ONE = Budget(epsilon=1, delta=1e-5)


def rival(make_record, name, fid, cnn, **fields):
    return make_record(name, method=name, role="compare", fid=fid, cnn=cnn, **fields)


def test_the_expected_order_is_stated_where_it_holds(make_record, make_facts):
    found = make_facts([make_record("a", fid=40, cnn=0.91), rival(make_record, "pdp-diffusion", 78, 0.33)])
    first = beside.sentences(found, TEN)[0]
    assert first == (
        "At budget 10, compared with pdp-diffusion, privimage+d has a lower (better) fid[efficientnet-lite0]† "
        "(40 against 78) and is 58 ± 3.5 points of accuracy[cnn]† higher (0.91 against 0.33): the expected order "
        "holds, by fid[efficientnet-lite0]† and accuracy[cnn]†."
    )


def test_the_expected_order_is_denied_where_it_does_not_hold(make_record, make_facts):
    found = make_facts(
        [
            make_record("a", fid=40, cnn=0.5),
            rival(make_record, "pdp-diffusion", 20, 0.6),
            rival(make_record, "dpdm", 80, 0.6),
            rival(make_record, "random-selection", 40, 0.5),
        ]
    )
    pdp, dpdm, chance, *_ = beside.sentences(found, TEN)
    assert "does NOT hold" in pdp and "10 ± 4.4 points of accuracy[cnn]† lower" in pdp and "higher (worse) fid" in pdp
    assert "holds only in part, better by fid[efficientnet-lite0]† and worse by accuracy[cnn]†" in dpdm
    assert "the same" in chance and "no difference can be told" in chance


def test_fine_tuning_is_measured_against_selection_alone(make_record, make_facts):
    alone = rival(make_record, "selection-only", 66, 0.5, spent=0.73)
    pays = beside.sentences(make_facts([make_record("a", fid=30, cnn=0.9), alone]), TEN)[0]
    not_so = beside.sentences(make_facts([make_record("a", fid=100, cnn=0.4), alone]), TEN)[0]
    assert "selection-only (epsilon 0.73)" in pays and ": fine-tuning pays, by fid" in pays
    assert ": fine-tuning does NOT pay, by fid" in not_so


def test_only_what_differs_in_one_part_tells_of_that_part(make_record, make_facts):
    """selection-only is privimage+d without fine-tuning; of privimage+m, which has none either, it tells nothing."""
    alone = rival(make_record, "selection-only", 66, 0.5, spent=0.73)
    control = rival(make_record, "selection+anchors", 66, 0.5, spent=0.73)
    found = make_facts([make_record("a", method="privimage+m", fid=30, cnn=0.9), alone, control])
    said = {
        name: line for line in beside.sentences(found, TEN) for name in ("-only", "+anchors") if f"n{name} (" in line
    }
    assert "pay" not in said["-only"] and "the expected order holds" in said["+anchors"]
    found = make_facts([make_record("a", method="privimage+a", fid=30, cnn=0.9), control])
    assert ": asking for means pays, by fid" in beside.sentences(found, TEN)[0]


def test_rows_without_privacy_get_no_verdict(make_record, make_facts):
    found = make_facts([make_record("a"), rival(make_record, "real", 1, 0.99, spent=None)])
    first = beside.sentences(found, TEN)[0]
    assert "real (no privacy)" in first and "expected" not in first


def test_the_reader_is_told_what_each_side_was_chosen_from(make_record, make_facts):
    found = make_facts([make_record("a"), make_record("b"), rival(make_record, "dpdm", 78, 0.3)])
    caution, spread = beside.sentences(found, TEN)[-2:]
    assert "best of 2 trials" in caution and "the search favours it" in caution and "one seed" in spread


def test_rows_of_another_budget_stand_in_only_if_they_cost_no_more(make_record, make_facts):
    found = make_facts(
        [
            make_record("a", epsilon=1),
            rival(make_record, "real", 1, 0.99, spent=None),
            rival(make_record, "selection-only", 66, 0.5, spent=0.73),
            rival(make_record, "dpdm", 60, 0.6),
        ]
    )
    assert [row.record.method for row in beside.rows(found, ONE)] == ["privimage+d", "real", "selection-only"]
    dear = make_facts([make_record("a", epsilon=1), rival(make_record, "selection-only", 66, 0.5, spent=2.0)])
    assert len(beside.rows(dear, ONE)) == 1


def test_nothing_to_compare(make_record, make_facts):
    assert "no finished trial" in beside.sentences(make_facts([rival(make_record, "dpdm", 6, 0.6)]), ONE)[0]
    assert beside.sentences(make_facts([make_record("a")]), TEN) == ["There is no comparison row at this budget."]


def test_rows_without_a_number_are_said_to_have_none(make_record, make_facts):
    row = rival(make_record, "dpdm", 60, 0.6).model_copy(update={"metrics": ()})
    (said,) = beside.sentences(make_facts([make_record("a"), row]), TEN)
    assert "comparison rows have no fid[efficientnet-lite0]" in said and "`metrics`" in said
