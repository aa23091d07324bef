from dataclasses import replace

import numpy as np
import pytest

from privimage.data.sets import PrivateSet
from privimage.data.sources.digits import read_digits
from privimage.errors import InputError
from privimage.metrics import evaluate, reference_statistics
from privimage.metrics.metric import DIRECTIONS
from privimage.privacy.looks import Seen

NET = "efficientnet-lite0"
FID = f"fid[{NET}]"
SEEN = Seen(split="test")


def private(x, y, split):
    return PrivateSet(x=x, y=y, name="digits", id="d", split=split, classes=tuple("0123456789"))


@pytest.fixture(scope="module")
def sets():
    x, y = read_digits()
    index = np.random.default_rng(0).permutation(len(y))
    x, y = x[index], y[index]
    return {
        "synthetic_x": x[:60],
        "synthetic_y": y[:60],
        "train": private(x[60:120], y[60:120], "train"),
        "test": private(x[120:180], y[120:180], "test"),
        "look": lambda name: SEEN,
    }


def test_every_metric_says_what_it_touches_in_the_order_asked(sets):
    names = ["accuracy[lr]", FID, "accuracy[mlp]"]
    metrics = evaluate(names, **sets)
    assert [metric.name for metric in metrics] == names
    for metric in metrics:
        assert metric.touches == ("synthetic", "private-test") and metric.non_private
        assert metric.n == 60 and metric.direction == DIRECTIONS[metric.name] and metric.seconds > 0


def test_the_test_split_against_itself_is_at_distance_zero(sets):
    test = sets["test"]
    (metric,) = evaluate([FID], **sets | {"synthetic_x": test.x, "synthetic_y": test.y})
    assert metric.value == pytest.approx(0, abs=1e-4)


def test_kept_statistics_replace_the_real_images(sets):
    kept = reference_statistics(sets["test"], NET, seen=SEEN)
    assert {name: array.shape for name, array in kept.items()} == {
        "mean": (1280,),
        "covariance": (1280, 1280),
        "n": (),
    }
    (direct,) = evaluate([FID], **sets)
    asked = []
    (given,) = evaluate([FID], **sets, reference=lambda network, seen: asked.append(network) or kept)
    assert asked == [NET] and given.value == pytest.approx(direct.value, rel=1e-9)


def test_real_features_are_computed_once(sets, monkeypatch):
    import sys

    reference_statistics(sets["test"], NET, seen=SEEN)
    module = sys.modules["privimage.metrics.evaluate"]
    monkeypatch.setattr(module, "features", lambda *_a, **_k: pytest.fail("computed again"))
    reference_statistics(sets["test"], NET, seen=SEEN)


def test_constant_images_and_missing_classes_are_scored(sets):
    x, y = np.zeros_like(sets["synthetic_x"]), sets["synthetic_y"] % 3
    (good,) = evaluate([FID], **sets)
    bad, share = evaluate([FID, "accuracy[lr]"], **sets | {"synthetic_x": x, "synthetic_y": y})
    assert bad.value > good.value and share.value < 0.4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: {"synthetic_x": s["synthetic_x"][:1], "synthetic_y": s["synthetic_y"][:1]}, "at least 2"),
        (lambda s: {"synthetic_x": s["synthetic_x"][:, :, :-1]}, "shape"),
        (lambda s: {"synthetic_x": s["synthetic_x"] / 255}, "uint8"),
        (lambda s: {"synthetic_y": s["synthetic_y"][:-1]}, "n labels"),
        (lambda s: {"synthetic_y": s["synthetic_y"] + 10}, "0 .. 9"),
        (lambda s: {"train": replace(s["test"], split="train")}, "training split"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(sets, change, says):
    with pytest.raises(InputError, match=says) as error:
        evaluate([FID], **sets | change(sets))
    assert "\n" not in str(error.value)


def test_names_are_checked_before_anything_is_computed(sets):
    with pytest.raises(InputError, match="did you mean"):
        evaluate([FID, "accuracy[cn]"], **sets)


def test_reference_needs_two_images(sets):
    with pytest.raises(InputError, match="fewer than 2"):
        reference_statistics(private(sets["test"].x[:1], sets["test"].y[:1], "test"), NET, seen=SEEN)
