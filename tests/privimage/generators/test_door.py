"""A family of generators that a package of somebody's own brings: found, trained with DP-SGD, sampled, exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_family
import toys
from known import entropy

from privimage import doors
from privimage.data.sets import PrivateSet
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.errors import InputError
from privimage.generators import sizes
from privimage.generators.sampler import draw_images
from privimage.privacy.budget import Event
from privimage.schema import parse
from privimage.trial import Trial
from privimage.workers import Workers

NAME = "means-of-labels"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What pip leaves of a package with the family in it, and of one whose entry point is no generator."""
    site = tmp_path / "site"
    for package, points in (
        ("means_package", f"{NAME} = means_package:Means"),
        ("other", "broken = other:SIZE\na-list = other:make"),
    ):
        info = site / f"{package}-0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[privimage.generators]\n{points}\n")
    (site / "means_package.py").write_text(Path(toy_family.__file__).read_text())
    (site / "other.py").write_text("SIZE = 'large'\n\ndef make(shape, n_classes):\n    return []\n")
    monkeypatch.syspath_prepend(site)
    doors._theirs.cache_clear()
    yield
    doors._theirs.cache_clear()


def test_it_is_found_by_its_name_beside_ours(installed: None) -> None:
    assert {NAME, sizes.DEFAULT} <= set(sizes.DOOR.names())
    sizes.check(NAME, (1, 5, 7))
    one, again, other = (sizes.build(NAME, shape=(1, 5, 7), n_classes=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.F.weight, again.F.weight) and not torch.equal(one.F.weight, other.F.weight)
    with pytest.raises(InputError, match=r"'broken': other:SIZE \(other 0\.1\) is no model size: it must be"):
        sizes.check("broken", (1, 8, 8))
    with pytest.raises(InputError, match=r"method\.model\.size: a-list makes a list, not a Generator; take another"):
        sizes.check("a-list", (1, 8, 8))


def test_two_steps_of_dp_sgd_and_its_images(installed: None) -> None:
    y = np.arange(30) % 3
    x = np.broadcast_to((y * 127).astype(np.uint8)[:, None, None, None], (30, 1, 6, 6)).copy()
    images = PrivateSet(x=x, y=y, name="grey", id="grey", split="train", classes=("black", "grey", "white"))
    generator = sizes.build(NAME, shape=(1, 6, 6), n_classes=3, seed=0)
    event = Event(purpose="dp-sgd", sigma=1e-3, q=1.0, steps=2, split="train")
    config = FinetuneConfig(optimizer="adam", lr=0.8, final_lr=1.0, averaged=0.1, C=1.0, K=1)
    release = fine_tune(generator, images, config=config, event=event, entropy=entropy(3), workers=Workers.alone())
    assert release.events == (event,)
    generator.F.load_state_dict(release.value.state)
    drawn, labels = draw_images(generator, n=6, config=toys.trial().method.sample, seed=0, device=torch.device("cpu"))
    assert drawn.dtype == np.uint8 and drawn.shape == (6, 1, 6, 6) and labels.tolist() == [0, 1, 2, 0, 1, 2]
    means = [drawn[labels == label].mean() for label in range(3)]
    assert means[0] < means[1] < means[2] and means[2] - means[0] > 60


def test_a_whole_trial(installed: None, tmp_path: Path) -> None:
    trial = toys.trial(method__model__size=NAME)
    record, stages = toys.ran(tmp_path, trial, public=toys.public_set(), sensitive=toys.sensitive_set())
    assert record.config["method"]["model"]["size"] == NAME and record.value("accuracy[lr]") is not None
    samples = stages.store.get("samples", record.artefacts["samples"])
    assert samples is not None and samples.arrays["x"].shape == (30, 1, toys.SIDE, toys.SIDE)


def test_without_that_package_it_is_unknown() -> None:
    values = toys.trial().model_dump(mode="json")
    values["method"]["model"]["size"] = NAME
    with pytest.raises(InputError, match=rf"method\.model\.size.*{NAME}"):
        parse(Trial, values)
