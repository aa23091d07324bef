"""DP-FETA: pre-trained on variations of its central images and on nothing public; both accesses are paid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys

from privimage.errors import BudgetExceeded, InputError
from privimage.methods import feta_pipeline
from privimage.methods.context import Context
from privimage.methods.feta_pipeline import FetaPipeline
from privimage.methods.method import Sizes, load
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Budget
from privimage.privacy.noise import Noise

IDENTITY = {"sensitive": "toy", "public": "toy-public"}
METHOD: Any = load("dp-feta")
BUDGET = Budget(epsilon=10, delta=1e-5)


def config_of(**fields: Any) -> Any:
    return resolve({"name": "dp-feta", "pool": {"views": 4, "vary": "strokes"}, **fields})


def context_of(root: Path, config: Any, **changed: Any) -> Context:
    events = METHOD.events(config, BUDGET, Noise(), identity=IDENTITY)
    context = Context(
        config=config, events=events, draw=None, seed=0,
        asked_sigma={event.shared: event.sigma for event in events.values() if event.shared}, public=toys.public_set(),
        sensitive=toys.sensitive_set(), identity=IDENTITY, stages=toys.stages_at(root),
    )  # fmt: skip
    return replace(context, **changed)


def shown(context: Context) -> Any:
    start = FetaPipeline(METHOD, context)._start()
    return start.x.rows(range(len(start.y))), start.y


def nothing_public_is_shown(root: Path) -> None:
    config, blank = config_of(), toys.public_set()
    blank = replace(blank, x=blank.x * 0)
    x, y = shown(context_of(root, config))
    other, _ = shown(context_of(root, config, public=blank))
    assert x.shape == (12, *blank.shape) and y.tolist() == [0, 1, 2] * 4
    assert (x == other).all() and x.std() > 0
    assert (x[:3] != x[3:6]).any(), "variations differ"


def test_it_is_shown_variations_of_the_central_images_and_nothing_public(tmp_path: Path) -> None:
    nothing_public_is_shown(tmp_path)


def test_it_is_seen_if_it_is_shown_public_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feta_pipeline, "central", lambda context: context.public.x[:3])
    with pytest.raises(AssertionError):
        nothing_public_is_shown(tmp_path)


def test_the_budget_is_that_of_both_accesses(tmp_path: Path) -> None:
    sigma = {}
    for central in (5, 20):
        config = config_of(central={"sigma": central})
        events = METHOD.events(config, Budget(epsilon=1, delta=1e-5), Noise(), identity=IDENTITY)
        assert [event.purpose for event in events.values()] == ["central images", "dp-sgd"]
        sigma[central] = events["generator"].sigma
    assert sigma[5] > 1.2 * sigma[20]
    with pytest.raises(BudgetExceeded, match=r"method\.central\.sigma"):
        METHOD.events(config_of(central={"sigma": 1}), Budget(epsilon=1, delta=1e-5), Noise(), identity=IDENTITY)


def test_noise_that_hides_the_images_is_said_and_anchors_are_refused() -> None:
    of = Sizes(n_train=3600, n_labels=10, n_public=50)
    assert not METHOD.warnings([config_of()], of)
    (line,) = METHOD.warnings([config_of(central={"sigma": 200})], of)
    assert line.startswith("method.central.sigma: noise of up to 200") and "below 90" in line
    with pytest.raises(InputError, match=r"^method\.sample\.start: anchors"):
        METHOD.check(config_of(sample={"start": "anchors"}), of)
