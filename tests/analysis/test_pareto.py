import pytest
from hypothesis import given
from hypothesis import strategies as st

from privimage.analysis import pareto
from privimage.errors import InputError

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"


def brute_force(points, directions):
    """Every pair compared, from the definition: nowhere worse and somewhere better."""

    def dominates(a, b):
        better = [x < y if d == "min" else x > y for x, y, d in zip(a, b, directions, strict=True)]
        worse = [x > y if d == "min" else x < y for x, y, d in zip(a, b, directions, strict=True)]
        return any(better) and not any(worse)

    return [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]


@st.composite
def clouds(draw):
    k = draw(st.integers(1, 4))
    point = st.tuples(*[st.integers(-3, 3)] * k)  # a coarse grid, so that ties are frequent
    return draw(st.lists(point, max_size=25)), draw(st.tuples(*[st.sampled_from(["min", "max"])] * k))


@given(clouds())
def test_undominated_is_what_brute_force_finds(cloud):
    points, directions = cloud
    assert pareto.undominated(points, directions=directions) == brute_force(points, directions)


def test_equal_points_are_all_kept_and_one_equal_coordinate_is_not_enough():
    assert pareto.undominated([(1, 5), (1, 5), (1, 6), (2, 5)], directions=("min", "min")) == [0, 1]


def test_front_trades_epsilon_against_a_metric_and_skips_rows_without_a_guarantee(make_record):
    records = [
        make_record("dear", epsilon=10, fid=30),
        make_record("bad", epsilon=10, fid=60),
        make_record("cheap", epsilon=1, fid=50),
        make_record("open", fid=1, spent=None),
    ]
    assert [r.id for r in pareto.front(records, metrics=[FID])] == ["cheap", "dear"]


def test_front_of_two_metrics_respects_their_directions(make_record):
    records = [
        make_record("fid", fid=30, cnn=0.7),
        make_record("cnn", fid=60, cnn=0.9),
        make_record("neither", fid=61, cnn=0.89),
        make_record("unmeasured", fid=1, cnn=None),
    ]
    assert [r.id for r in pareto.front(records, metrics=[FID, CNN])] == ["fid", "cnn"]


def test_calibration_slack_is_not_an_advantage(make_record):
    records = [make_record("a", fid=50, spent=9.9993), make_record("b", fid=40, spent=9.9999)]
    assert [r.id for r in pareto.front(records, metrics=[FID])] == ["b"]
    assert pareto.epsilon_shown(make_record("c", spent=0.73)) == 0.73
    assert pareto.epsilon_shown(make_record("d", spent=10.1)) == 10.1  # above its budget: never hidden


def test_front_of_an_unknown_metric_lists_the_known_ones(make_record):
    with pytest.raises(InputError, match=r"allowed: fid.*accuracy"):
        pareto.front([make_record("a")], metrics=["sds"])


def test_best_rows_are_per_budget_and_method_and_the_first_of_equals(make_record, make_metric):
    records = [
        make_record("ten", epsilon=10, cnn=0.9),
        make_record("one", epsilon=1, cnn=0.4),
        make_record("one-better", epsilon=1, cnn=0.5),
        make_record("one-equal", epsilon=1, cnn=0.5),
        make_record("rival", method="dpdm", epsilon=1, cnn=0.1),
    ]
    rows = pareto.best_rows(records, metrics=[make_metric(CNN, 0)])
    assert [(budget.epsilon, method, r.id) for (budget, method), r in rows.items()] == [
        (1, "privimage+d", "one-better"),
        (1, "dpdm", "rival"),
        (10, "privimage+d", "ten"),
    ]


def test_searched_fields_are_those_in_which_search_trials_differ(make_record):
    records = [
        make_record("a", ratio=0.05, epsilon=1),
        make_record("b", ratio=0.1, seed=3),
        make_record("c", method="dpdm", role="compare", config={"method": {"K": 3}}),
    ]
    assert pareto.searched(records) == ["method.select.ratio"]
    assert pareto.searched(records[:1]) == []


def test_the_main_method_is_the_searched_one(make_record):
    rows = [make_record("a", method="new"), *(make_record(str(i), method="dpdm", role="compare") for i in range(3))]
    assert pareto.main_method(rows) == "new"
    assert pareto.methods(rows) == ["new", "dpdm"]
    searched = [make_record(f"r{i}", method="dpdm") for i in range(3)]
    assert pareto.main_method([*searched, make_record("z")]) == "privimage+d", "a rival is what it is compared with"
