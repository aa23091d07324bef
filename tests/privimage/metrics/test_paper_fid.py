from dataclasses import replace

import numpy as np
import pytest
import toys

from privimage.data.sets import PARTS
from privimage.metrics import MetricContext, evaluate
from privimage.metrics.features import features
from privimage.metrics.frechet import Statistics, distance
from privimage.metrics.paper_fid import PaperFid
from privimage.privacy.looks import Seen

NET = "efficientnet-lite0"
NAME = f"paper-fid[{NET}]"


def measured(context):
    (found,) = evaluate([NAME], context, look=lambda name, split: Seen(split=split))
    return found


@pytest.fixture
def context():
    data, (x, y) = toys.sensitive_set(), toys.pictures(60, 3, seed=9)
    return MetricContext(x=x, y=y, splits={part: getattr(data, part) for part in PARTS})


def test_it_is_the_distance_of_the_first_images_to_the_training_split(context, monkeypatch):
    monkeypatch.setattr(PaperFid, "most", 25)
    train = Statistics.of(features(context.splits["train"], network=NET))
    by_hand = distance(train, Statistics.of(features(context.x[:25], network=NET)))
    found = measured(context)
    assert found.value == pytest.approx(by_hand) and found.n == 25
    assert found.touches == ("synthetic", "private-train") and found.of == 40 and found.non_private


def test_of_fewer_images_all_are_taken_and_their_number_is_told(context):
    assert PaperFid.most == 5000 and measured(context).n == 60


def test_copies_of_the_training_images_are_at_distance_zero(context):
    train = context.splits["train"]
    assert measured(replace(context, x=train.x, y=train.y)).value == pytest.approx(0, abs=1e-3)


def test_the_statistics_of_train_and_test_are_kept_apart(context):
    kept = {}

    def keep(what, compute):
        return kept.setdefault(repr(sorted(what.items())), compute())

    own = replace(context, keep=keep)
    both = evaluate([NAME, f"fid[{NET}]"], own, look=lambda name, split: Seen(split=split))
    assert len(kept) == 2 and both[0].value != both[1].value
    assert np.isfinite([one.value for one in both]).all()
