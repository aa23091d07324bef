from hypothesis import given
from hypothesis import strategies as st

from privimage.analysis import words


@given(st.floats(min_value=1e-6, max_value=1e4))
def test_a_shown_epsilon_is_never_below_the_one_that_was_paid(value):
    shown = float(words.epsilon(value))
    assert value * (1 - 1e-9) <= shown <= value * 1.0002


def test_only_non_private_metrics_carry_the_dagger(make_metric):
    assert words.metric(make_metric("accuracy[lr]", 1)) == "accuracy[lr]†"
    assert words.metric(make_metric("accuracy[lr]", 1, "synthetic", "public")) == "accuracy[lr]"
