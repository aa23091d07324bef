"""A set need not be in memory: it is asked for a batch or a block at a time, and results are the same to the bit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import CLASSES, LABELS, pictures, ran, trial

from privimage.data.config import HeldOutConfig
from privimage.data.held_out import hold_out
from privimage.data.mapped import Mapped
from privimage.data.pair import DataConfig, load_data
from privimage.data.sets import PARTS, Chosen, PrivateSet, PublicSet, SensitiveData, check_apart
from privimage.data.sources import source
from privimage.errors import InputError
from privimage.metrics import classifiers
from privimage.paths import Root
from privimage.privacy.entropy import Entropy

MOST = 500  # images at a time: what the query function and the classifiers look at together
METRICS = {
    "privimage+d": ("accuracy[lr]", "accuracy[cnn]", "dp-accuracy[lr]", "fid[efficientnet-lite0]"),
    "pdp-diffusion": ("accuracy[lr]",),
    "real": ("accuracy[lr]",),
}


@dataclass
class Sparing:
    """Pictures that lie elsewhere: they refuse whoever asks for more than a few of them."""

    x: np.ndarray
    asked: list[int] = field(default_factory=list)

    def rows(self, index: np.ndarray) -> np.ndarray:
        assert isinstance(index, np.ndarray) and index.dtype == np.int64, index
        assert len(index) <= MOST, f"{len(index)} images at once"
        self.asked.append(len(index))
        return self.x[index]


def sets() -> tuple[PublicSet, SensitiveData]:
    """In memory: 600 public images, and a split of more than MOST for every use."""
    names = {"name": "toy", "id": "toy-v1", "classes": LABELS}
    parts: dict[str, Any] = {}
    for part, n, seed in (("train", 560, 1), ("validation", 510, 2), ("test", 540, 3)):
        x, y = pictures(n, len(LABELS), seed)
        parts[part] = PrivateSet(x=x, y=y, split=part, **names)  # type: ignore[arg-type]
    x, y = pictures(50 * CLASSES, CLASSES, seed=4)
    public = PublicSet(x=x, y=y, name="toy-public", classes=tuple(f"c{i}" for i in range(CLASSES)))
    return public, SensitiveData(**parts)


def elsewhere(public: PublicSet, sensitive: SensitiveData) -> tuple[PublicSet, SensitiveData, list[Sparing]]:
    """The same sets, out of memory; every split is an index into one heap of pictures, back to front."""
    parts = [getattr(sensitive, part) for part in PARTS]
    shown, heap = Sparing(public.x), Sparing(np.concatenate([part.x for part in parts])[::-1])  # type: ignore[arg-type]
    ends = np.cumsum([0, *(len(part) for part in parts)])
    moved = {
        part.split: replace(part, x=Chosen(of=heap, index=ends[-1] - 1 - np.arange(ends[i], ends[i + 1])))
        for i, part in enumerate(parts)
    }
    return replace(public, x=shown), SensitiveData(**moved), [shown, heap]


@pytest.mark.thorough
@pytest.mark.parametrize("name", METRICS)
def test_a_trial_of_sets_elsewhere_is_that_of_sets_in_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Entropy, "fresh", staticmethod(lambda: Entropy(bytes(32))))
    monkeypatch.setattr(classifiers, "STEPS", 20)  # of the cnn, whose training sees synthetic images alone
    what = trial(method__name=name, metrics=METRICS[name])
    public, sensitive = sets()
    far_public, far_sensitive, pictures = elsewhere(public, sensitive)
    role: Any = "compare" if name == "real" else "search"
    near, kept = ran(tmp_path / "near", what, public=public, sensitive=sensitive, role=role)
    far, stages = ran(tmp_path / "far", what, public=far_public, sensitive=far_sensitive, role=role)
    assert [(m.name, m.value) for m in far.metrics] == [(m.name, m.value) for m in near.metrics]
    assert far.artefacts == near.artefacts and far.events == near.events
    for kind, key in near.artefacts.items():
        one, other = kept.store.get(kind, key), stages.store.get(kind, key)
        assert one is not None and other is not None and one.manifest.sha256 == other.manifest.sha256, kind
    assert all(sum(some.asked) > 500 for some in pictures if some is not pictures[0] or name != "real")


@pytest.mark.thorough
def test_a_trial_of_decoded_copies_is_that_of_sets_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Entropy, "fresh", staticmethod(lambda: Entropy(bytes(32))))
    public, sensitive = sets()
    for images, name in ((public, "public"), (sensitive.train, "sensitive")):
        np.savez_compressed(tmp_path / name, x=images.x, y=images.y, classes=np.array(images.classes))
    values = {role: {"name": "npz", "root": str(tmp_path / f"{role}.npz")} for role in ("public", "sensitive")}
    config = DataConfig.model_validate(values | {"sensitive": values["sensitive"] | {"id": "toy-v1"}})
    near = load_data(config, root=Root(path=tmp_path / "near"))
    monkeypatch.setattr(source, "LARGE", 20_000)
    far = load_data(config, root=Root(path=tmp_path / "far"))
    assert isinstance(near[0].x, np.ndarray) and isinstance(far[0].x, Mapped) and isinstance(far[1].train.x, Chosen)
    what = trial(method__name="privimage+d", metrics=METRICS["privimage+d"][:1])
    one, kept = ran(tmp_path / "near", what, public=near[0], sensitive=near[1])
    other, stages = ran(tmp_path / "far", what, public=far[0], sensitive=far[1])
    assert [m.value for m in other.metrics] == [m.value for m in one.metrics] and other.artefacts == one.artefacts
    for kind, key in one.artefacts.items():
        found, again = kept.store.get(kind, key), stages.store.get(kind, key)
        assert found is not None and again is not None and found.manifest.sha256 == again.manifest.sha256, kind


def test_real_images_of_a_large_split_are_as_many_as_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public, sensitive, _ = elsewhere(*sets())
    what = trial(method__name="real", metrics=METRICS["real"])
    all_, _ = ran(tmp_path / "all", what, public=public, sensitive=sensitive, role="compare")
    monkeypatch.setattr(source, "LARGE", 200 * 256)
    some, _ = ran(tmp_path / "some", what, public=public, sensitive=sensitive, role="compare")
    assert (all_.metrics[0].n, some.metrics[0].n) == (560, 200)


def test_what_looks_at_a_whole_set_looks_at_parts_of_it() -> None:
    public, sensitive = sets()
    far_public, far_sensitive, _ = elsewhere(public, sensitive)
    assert far_public.fingerprint == public.fingerprint
    assert far_sensitive.train.fingerprint == sensitive.train.fingerprint and far_sensitive.train.shape == (1, 16, 16)
    check_apart(far_public, far_sensitive, key="data.public")
    twin = replace(far_public, x=far_sensitive.train.x, y=far_sensitive.train.y)
    with pytest.raises(InputError, match="more than 1% of the sensitive images are among its images too"):
        check_apart(twin, far_sensitive, key="data.public")
    config = HeldOutConfig(labels=2, share=0.5)
    (rest, taken), (far_rest, far_taken) = hold_out(public, config), hold_out(far_public, config)
    assert isinstance(far_rest.x, Chosen) and far_rest.fingerprint == rest.fingerprint
    assert far_taken.train.fingerprint == taken.train.fingerprint


def test_whoever_asks_for_all_at_once_is_seen() -> None:
    _, sensitive, _ = elsewhere(*sets())
    with pytest.raises(AssertionError, match="560 images at once"):
        sensitive.train.rows(np.arange(560))
