from dataclasses import replace

import numpy as np
import pytest

from privimage.data.sets import PrivateSet
from privimage.data.sources.digits import read_digits
from privimage.errors import InputError, Violation
from privimage.metrics import MetricContext, direction_of, evaluate
from privimage.privacy.looks import Seen

NET = "efficientnet-lite0"
FID = f"fid[{NET}]"
SEEN = Seen(split="test")


def private(x, y, split):
    return PrivateSet(x=x, y=y, name="digits", id="d", split=split, classes=tuple("0123456789"))


def look(name, split):
    return Seen(split=split)


@pytest.fixture(scope="module")
def context():
    x, y = read_digits()
    index = np.random.default_rng(0).permutation(len(y))
    x, y = x[index], y[index]
    splits = {"train": private(x[60:120], y[60:120], "train"), "test": private(x[120:180], y[120:180], "test")}
    return MetricContext(x=x[:60], y=y[:60], splits=splits)


def with_test(context, **changed):
    return replace(context, splits={**context.splits, "test": replace(context.splits["test"], **changed)})


def test_every_metric_says_what_it_touches_in_the_order_asked(context):
    names = ["accuracy[lr]", FID, "accuracy[mlp]"]
    metrics = evaluate(names, context, look=look)
    assert [metric.name for metric in metrics] == names
    for metric in metrics:
        assert metric.touches == ("synthetic", "private-test") and metric.non_private
        assert metric.n == 60 and metric.direction == direction_of(metric.name) and metric.seconds > 0
        assert metric.of == 60 and metric.classes == 10
        assert metric.share == (metric.largest is not None) == metric.name.startswith("accuracy")
    (public,) = evaluate(["accuracy[lr]"], replace(context, stand_in=True), look=look)
    assert public.touches == ("synthetic", "public") and not public.non_private


def test_the_test_split_against_itself_is_at_distance_zero(context):
    test = context.splits["test"]
    (metric,) = evaluate([FID], replace(context, x=test.x, y=test.y, _features={}), look=look)
    assert metric.value == pytest.approx(0, abs=1e-4)


def test_what_is_kept_of_the_real_images_is_computed_once_and_only_after_a_look(context):
    store, asked = {}, []

    def keep(what, compute):
        key = repr(sorted(what.items()))
        asked.append(dict(what))
        if key not in store:
            store[key] = compute()
        return store[key]

    own = replace(context, keep=keep)
    (direct,), (first,), (second,) = (evaluate([FID], c, look=look) for c in (context, own, own))
    assert asked == [{"metric": "fid", "network": NET, "split": "test"}] * 2
    (kept,) = store.values()
    assert {name: array.shape for name, array in kept.items()} == {
        "mean": (1280,), "covariance": (1280, 1280), "n": (),
    }  # fmt: skip
    assert first.value == second.value == pytest.approx(direct.value, rel=1e-9)
    with pytest.raises(Violation, match="would be read"):
        evaluate([FID], own, look=lambda name, split: Seen(split="train"))
    assert len(asked) == 2


def test_a_split_that_was_not_declared_is_not_read(context):
    with pytest.raises(Violation, match="without noise"):
        replace(context, by={"test": SEEN}).real("train")
    with pytest.raises(Violation, match="declares no noise"):
        context.noise  # noqa: B018


def test_what_the_query_function_sees_is_refused_where_there_is_none(context):
    with pytest.raises(InputError, match="needs the query function"):
        context.top(context.x)
    asked = replace(context, query=lambda x, k1: np.full((len(x), k1), 7))
    assert asked.top(context.x, k1=2).tolist() == [[7, 7]] * 60


def test_features_of_the_synthetic_images_are_computed_once(context, monkeypatch):
    own = replace(context, _features={})
    names = [FID, f"kid[{NET}]"]
    evaluate(names[:1], own, look=look)
    monkeypatch.setattr(MetricContext, "_embed", lambda self, x, network: pytest.fail("computed again"))
    own.features(NET)


def test_constant_images_and_missing_classes_are_scored(context):
    x, y = np.zeros_like(context.x), context.y % 3
    (good,) = evaluate([FID], context, look=look)
    bad, share = evaluate([FID, "accuracy[lr]"], replace(context, x=x, y=y, _features={}), look=look)
    assert bad.value > good.value and share.value < 0.4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: replace(c, x=c.x[:1], y=c.y[:1]), "at least 2"),
        (lambda c: replace(c, x=c.x[:, :, :-1]), "shape"),
        (lambda c: replace(c, x=c.x / 255), "uint8"),
        (lambda c: replace(c, y=c.y[:-1]), "n labels"),
        (lambda c: replace(c, y=c.y + 10), "0 .. 9"),
        (lambda c: with_test(c, x=c.splits["train"].x, y=c.splits["train"].y), "training split"),
        (lambda c: with_test(c, x=c.splits["test"].x[:1], y=c.splits["test"].y[:1]), "at least 2"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(context, change, says):
    with pytest.raises(InputError, match=says) as error:
        evaluate([FID], change(context), look=look)
    assert "\n" not in str(error.value)


def test_names_are_checked_before_anything_is_computed(context):
    with pytest.raises(InputError, match="did you mean"):
        evaluate([FID, "accuracy[cn]"], context, look=lambda name, split: pytest.fail("looked"))
