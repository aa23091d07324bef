import pytest
from pydantic import ValidationError

from privimage.errors import InputError
from privimage.metrics.metric import METRICS, Metric, direction_of, is_private, names


def test_a_metric_says_what_it_touches():
    private = Metric(name="accuracy[lr]", value=0.5, touches=("synthetic", "private-test"), direction="max", n=10)
    public = Metric(name="accuracy[lr]", value=0.5, touches=("synthetic", "public"), direction="max", n=10)
    assert private.non_private and not public.non_private
    with pytest.raises(ValidationError):
        Metric(name="accuracy[lr]", value=0.5, touches=(), direction="max", n=10)


@pytest.mark.parametrize("wrong", [{"direction": "best"}, {"value": float("nan")}, {"touches": ("x",)}, {"n": 0}])
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
    assert {(name.partition("[")[0], direction_of(name)) for name in names()} == {
        (name, family.direction) for name, family in METRICS.members().items()
    }
    assert {"fid[inception]", "kid[inception]", "accuracy[lr]", "dp-accuracy[cnn]"} <= set(names())
    assert {name for name in names(noisy=True)} == {name for name in names() if is_private(name)} != set()
    for name in ("zzz", "fid", "fid[]", "fid[inception", "fidinception]", "[inception]", "fid[inception]]"):
        with pytest.raises(InputError, match=r"known: accuracy|did you mean"):
            direction_of(name)
