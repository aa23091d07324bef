"""The methods that match means or votes, on colour images, with the network that is for these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from quick import first

from privimage.data.sets import PrivateSet, PublicSet
from privimage.methods.context import Context
from privimage.methods.resolve import resolve
from privimage.privacy.budget import Budget
from privimage.privacy.noise import Noise

SMALL: dict[str, dict[str, Any]] = {
    "dp-merf": {"fourier": {"features": 50}, "match": {"steps": 2, "batch": 12}},
    "dp-mepf": {"match": {"steps": 2, "batch": 12}},
    "pe": {"model": {"size": "dct-mlp-192"}, "pretrain": {"images": 32, "batch": 16},
           "evolve": {"rounds": 2, "first": 20, "candidates": 6}},
}  # fmt: skip


@pytest.mark.parametrize("name", first(SMALL))
def test_colour_images_are_made_with_the_network_for_them(name: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    train = PrivateSet(x=x[:30], y=np.arange(30) % 3, name="toy", id="toy", split="train", classes=toys.LABELS)
    public = PublicSet(x=x[30:], y=np.arange(30) % 5, name="public", classes=tuple("abcde"))
    config = resolve({"name": name, "samples": 12, **SMALL[name]}).settled(3)
    identity = {"sensitive": "toy", "public": "public"}
    events = config.member.events(config, Budget(epsilon=10, delta=1e-5), Noise(), identity=identity)
    sensitive: Any = toys.sensitive_set()
    object.__setattr__(sensitive, "train", train)
    stages = toys.stages_at(tmp_path)
    context = Context(config=config, events=events, draw=None, seed=0, asked_sigma={}, public=public,
                      sensitive=sensitive, identity=identity, stages=stages)  # fmt: skip
    made = config.member.images(context)
    assert made.x.shape == (12, 3, 16, 16) and made.x.dtype == np.uint8
    assert "query-function" not in stages.artefacts
