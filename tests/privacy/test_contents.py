"""An id stands for the same images for ever: any change is seen before anything is charged; a moved folder is none."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from privimage.data import SensitiveConfig, load_sensitive
from privimage.data.sets import content_of
from privimage.errors import InputError
from privimage.paths import Root
from privimage.privacy.budget import Event
from privimage.privacy.contents import Contents
from privimage.privacy.ledger import Ledger
from privimage.schema import parse
from privimage.sweeps.resume import at_revision, check_same, dumped, reservation_of
from privimage.sweeps.sweep import Sweep

QUERY = Event(purpose="query", split="train", sigma=5)
A, B, C = (content_of([letter]) for letter in (b"a", b"b", b"c"))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(path=tmp_path / "runs")


def charge(root: Root, *, revision: int = 0, id: str = "q") -> None:
    Ledger(root.ledger("faces"), revision=revision).charge(id=id, what="query", events=(QUERY,))


# ---- what is a change


def load(folder: Path, **changed: Any) -> str:
    values = {"name": "folder", "root": str(folder), "id": "faces", "channels": 1, "validation": 0.3, "test": 0.3}
    return load_sensitive(SensitiveConfig.model_validate(values | changed)).content


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "faces"
    rng = np.random.default_rng(0)
    for label in ("ann", "bob"):
        (folder / label).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(folder / label / f"{i}.png")
    return folder


def pixel(folder: Path) -> None:
    path = folder / "ann" / "3.png"
    image = np.array(Image.open(path))
    image[0, 0] ^= 1
    Image.fromarray(image).save(path)


def one_more(folder: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / "bob" / "new.png")


def one_less(folder: Path) -> None:
    (folder / "bob" / "7.png").unlink()


def a_copy(folder: Path) -> None:
    shutil.copy(folder / "bob" / "7.png", folder / "bob" / "copy.png")


def another_label(folder: Path) -> None:
    (folder / "bob" / "7.png").rename(folder / "ann" / "moved.png")


def another_class_name(folder: Path) -> None:
    (folder / "bob").rename(folder / "cay")


def labels_swapped(folder: Path) -> None:
    for old, new in (("ann", "x"), ("bob", "ann"), ("x", "bob")):
        (folder / old).rename(folder / new)


CHANGES = (pixel, one_more, one_less, a_copy, another_label, another_class_name, labels_swapped)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(faces: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(faces, tmp_path / "faces"))
    change(folder)
    assert load(folder) != load(faces)


def test_neither_place_nor_names_nor_size_nor_split_is_a_change(faces: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(faces, tmp_path / "elsewhere"))
    for path in sorted(moved.glob("*/*.png")):
        path.rename(path.with_name(f"z{97 * int(path.stem) % 31}.png"))
    (moved / "ann" / "notes.txt").write_text("left out")
    assert load(moved) == load(faces) == load(faces, size=8, channels=3) == load(faces, split_seed=3, test=0.2)


def test_the_embedded_digits_have_a_content() -> None:
    config = SensitiveConfig(name="digits", id="digits-v1")
    data = load_sensitive(config)
    assert len(data.content) == 64 and data.content not in repr(data)
    assert load_sensitive(config.model_copy(update={"size": 14})).content == data.content


# ---- what is kept


def test_the_first_images_are_fixed_and_others_are_refused_with_the_ways_on(root: Root) -> None:
    contents = Contents(root, "faces")
    assert contents.revision(A) == 0 and contents.latest == 0 and not contents.path.exists(), "looking fixes nothing"
    assert contents.fix(A) == 0 == contents.fix(A) == Contents(root, "faces").revision(A)
    for call in (contents.revision, contents.fix):
        with pytest.raises(InputError, match=r"put them back.*choose a new id.*adopt-data.*epsilons add"):
            call(B)
    assert contents.revision(A) == 0


def test_what_is_kept_tells_nothing_and_is_internal(root: Root, tmp_path: Path) -> None:
    Contents(root, "faces").fix(A)
    Contents(Root(path=tmp_path / "other"), "faces").fix(A)
    path, other = root.contents("faces"), Root(path=tmp_path / "other").contents("faces")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert A not in path.read_text()
    assert json.loads(path.read_text())["digests"] != json.loads(other.read_text())["digests"], "under secret keys"


def test_adopted_images_are_another_revision_and_the_old_ones_are_known(root: Root) -> None:
    contents = Contents(root, "faces")
    contents.fix(A)
    charge(root)
    assert [contents.adopt(x) for x in (B, B, C, A)] == [1, 1, 2, 0]
    assert [contents.revision(x) for x in (A, B, C)] == [0, 1, 2] and contents.latest == 2
    with pytest.raises(InputError, match="known to be others"):
        contents.adopt(content_of([b"d"]), same=True)
    assert len(Ledger(root.ledger("faces")).charges()) == 1, "nothing was charged"


@pytest.mark.parametrize("revision", [0, 2])
def test_a_lost_file_is_refused_once_there_are_charges(root: Root, revision: int) -> None:
    contents = Contents(root, "faces")
    contents.fix(A)
    charge(root, revision=revision)
    contents.path.unlink()
    for call in (contents.revision, contents.fix):
        with pytest.raises(InputError, match=r"missing, so nobody can tell.*restore it from a backup.*--same"):
            call(A)
    assert contents.adopt(A, same=True) == revision == contents.revision(A), "your word is taken"
    contents.path.unlink()
    assert contents.adopt(A) == revision + 1 == contents.revision(A), "without it, all is asked anew"


def test_an_older_copy_of_the_file_is_refused(root: Root) -> None:
    contents = Contents(root, "faces")
    contents.fix(A)
    before = contents.path.read_bytes()
    charge(root, revision=contents.adopt(B))
    contents.path.write_bytes(before)
    with pytest.raises(InputError, match="older than the ledger"):
        contents.revision(A)


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_never_believed(
    tmp_path_factory: pytest.TempPathFactory, at: float, bit: int, cut: bool
) -> None:
    contents = Contents(Root(path=tmp_path_factory.mktemp("root")), "faces")
    contents.fix(A)
    raw = bytearray(contents.path.read_bytes())
    place = int(at * len(raw))
    raw[place] ^= 1 << bit
    contents.path.write_bytes(raw[:place] if cut else raw)
    with pytest.raises(InputError, match=r"damaged; restore it from a backup"):
        contents.fix(A)


def test_two_that_fix_at_once_agree(root: Root) -> None:
    import threading

    said: list[object] = []

    def fix(content: str) -> None:
        try:
            said.append((content, Contents(root, "faces").fix(content)))
        except InputError:
            said.append("refused")

    threads = [threading.Thread(target=fix, args=(x,)) for x in (A, B, A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, said))[-2:] == ["refused"] * 2 and len(said) == 4


# ---- what depends on it


@pytest.fixture
def sweep(tiny_values: Callable[[], dict[str, Any]]) -> Sweep:
    return parse(Sweep, tiny_values())


def moved(sweep: Sweep) -> Sweep:
    sensitive = sweep.data.sensitive.model_copy(update={"root": "/elsewhere"})
    return sweep.model_copy(update={"data": sweep.data.model_copy(update={"sensitive": sensitive})})


def trial_of(sweep: Sweep) -> Any:
    return sweep.example(budget=sweep.budgets[0])


def test_a_moved_folder_is_the_same_trial_and_another_revision_is_not(sweep: Sweep) -> None:
    assert trial_of(moved(sweep)).id == trial_of(sweep).id and reservation_of(moved(sweep)) == reservation_of(sweep)
    other = at_revision(sweep, 1)
    assert trial_of(other).id != trial_of(sweep).id and trial_of(other).identity != trial_of(sweep).identity
    assert reservation_of(other) != reservation_of(sweep)
    with pytest.raises(InputError, match=r"data\.revision: got 1; the images are those of revision 0"):
        at_revision(other, 0)


@pytest.mark.parametrize("changed", [{"size": 14}, {"channels": 3}, {"validation": 0.2}, {"split_seed": 1}])
def test_shape_and_split_are_part_of_what_is_asked(sweep: Sweep, changed: dict[str, Any]) -> None:
    sensitive = sweep.data.sensitive.model_copy(update=changed)
    other = sweep.model_copy(update={"data": sweep.data.model_copy(update={"sensitive": sensitive})})
    assert dumped(other)["data"]["sensitive"] != dumped(sweep)["data"]["sensitive"]


def test_a_run_does_not_go_on_with_other_images(sweep: Sweep, root: Root) -> None:
    import yaml

    folder = root.run(sweep.name)
    folder.path.mkdir(parents=True)
    folder.sweep.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    check_same(moved(sweep), folder)
    with pytest.raises(InputError, match=r"begun on revision 0.*these are revision 1; choose another name"):
        check_same(at_revision(sweep, 1), folder)
