import pytest
from pydantic import ValidationError

from privimage.errors import InputError
from privimage.metrics.metric import DIRECTIONS, Metric, direction_of, parts_of


def test_a_metric_says_what_it_touches():
    private = Metric(name="accuracy[lr]", value=0.5, touches=("synthetic", "private-test"), direction="max", n=10)
    public = Metric(name="accuracy[lr]", value=0.5, touches=("synthetic", "public"), direction="max", n=10)
    assert private.non_private and not public.non_private
    with pytest.raises(ValidationError):
        Metric(name="accuracy[lr]", value=0.5, touches=(), direction="max", n=10)


@pytest.mark.parametrize("wrong", [{"direction": "max"}, {"value": float("nan")}, {"name": "fid"}, {"n": 0}])
def test_a_metric_that_contradicts_itself_is_refused(wrong):
    good = {
        "name": "fid[inception]",
        "value": 1.0,
        "touches": ("synthetic", "private-test"),
        "direction": "min",
        "n": 2,
    }
    Metric.model_validate(good)
    with pytest.raises(ValidationError):
        Metric.model_validate(good | wrong)


@pytest.mark.parametrize(("wrong", "right"), [("fid[incepton]", "fid[inception]"), ("accuracy[CNN]", "accuracy[cnn]")])
def test_an_unknown_name_is_answered_with_the_nearest(wrong, right):
    with pytest.raises(InputError, match="did you mean") as error:
        direction_of(wrong)
    assert right in str(error.value) and "\n" not in str(error.value)


def test_every_name_has_a_family_that_fixes_its_direction():
    assert {(parts_of(name)[0], direction) for name, direction in DIRECTIONS.items()} == {
        ("fid", "min"),
        ("accuracy", "max"),
        ("dp-accuracy", "max"),
    }
    with pytest.raises(InputError, match="known: accuracy"):
        direction_of("zzz")
