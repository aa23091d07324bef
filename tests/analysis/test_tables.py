from privimage.analysis import facts, price, tables

FID = "fid[efficientnet-lite0]"


def test_trials_hold_the_searched_field_prices_and_marks(demo):
    rows = tables.trials(facts.read(demo)).set_index("id")
    assert rows.loc["search-10-1", "method_select_ratio"] == 0.05
    assert rows.loc["search-10-1", "fid_efficientnet_lite0"] == 40
    assert rows.loc["search-10-1", "peak_mib"] == 812.5
    assert rows.loc["search-10-1", "stages"] == "histogram hit, generator built"
    assert bool(rows.loc["search-10-1", "on_front"]) and not rows.loc["search-10-0", "on_front"]
    assert rows["epsilon_alone"].isna().sum() == rows["epsilon_to_state"].isna().sum() == 2


def test_best_says_how_many_trials_each_was_chosen_from(demo):
    rows = tables.best(facts.read(demo)).set_index(["method", "budget"])
    assert rows.loc[("privimage+d", 10.0), "trial"] == "search-10-1"
    assert rows.loc[("privimage+d", 10.0), "best of"] == 3
    assert rows.loc[("dpdm", 1.0), "best of"] == 1
    assert rows.loc[("real", 10.0), "epsilon alone"] == "none"


def test_rows_that_fit_any_budget_are_named(demo, make_record, make_facts):
    (said,) = tables.at_any_budget(facts.read(demo))
    assert said.startswith(
        "What selection-only, nonprivate-tune and real pay, if anything, does not follow from the budget: "
    )
    assert tables.at_any_budget(make_facts([make_record("a")])) == []


def test_the_bill_is_compared_with_the_records_once_and_not_for_each(demo, monkeypatch):
    asked, real = [], price.contradictions
    monkeypatch.setattr(price, "contradictions", lambda found: asked.append(found) or real(found))
    assert len(tables.trials(facts.read(demo))) > 1 and len(asked) == 1
