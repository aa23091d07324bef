"""A sweep, its plan and the commands meet lost ledgers and changed images: one line, exit 2, nothing charged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privimage.data.sets import content_of
from privimage.paths import Root
from privimage.privacy.budget import Event
from privimage.privacy.contents import Contents
from privimage.privacy.ledger import Ledger
from privimage.stores.file import FileStore
from privimage.stores.store import Built

QUERY = Event(purpose="query", split="train", sigma=5)
SET = "tiny-v1"


@pytest.fixture
def privimage(privimage: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str]]:
    """Runs one command line: exit code, and all that it said."""

    def run(*words: object) -> tuple[int, str]:
        code, out, err = privimage(*words)
        return code, (out + err).replace("\n", " ")

    return run


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(path=tmp_path / "runs")


def paid_answer(root: Root) -> None:
    ledger = Ledger(root.ledger(SET))
    receipt = ledger.receipt(id="k", what="semantic query", events=(QUERY,))
    built = Built(arrays={"a": np.ones(1)}, privacy="released", events=(QUERY,), receipts=(receipt,))
    FileStore(root.store).put("histogram", "k", built)


def test_a_sweep_whose_ledger_was_lost(privimage, write_sweep, root):  # type: ignore[no-untyped-def]
    paid_answer(root)
    file = write_sweep()
    for verb in ("sweep", "plan"):
        code, said = privimage(verb, file, "--root", root.path)
        assert code == 2 and "'semantic query'" in said and "privimage ledger adopt" in said
    assert not root.ledger(SET).exists()
    assert privimage("ledger", "adopt", root.ledger(SET), "--list")[0] == 0 and not root.ledger(SET).exists()
    code, said = privimage("ledger", "adopt", root.ledger(SET))
    assert code == 0 and "charges: semantic query: query sigma=5" in said and "1 charges were added" in said
    assert [charge.id for charge in Ledger(root.ledger(SET)).charges()] == ["k"]


def test_a_sweep_on_changed_images(privimage, write_sweep, root):  # type: ignore[no-untyped-def]
    Contents(root, SET).fix(content_of([b"others"]))
    file = write_sweep()
    code, said = privimage("sweep", file, "--root", root.path)
    assert code == 2 and "its images are not those that tiny-v1 stood for" in said and "adopt-data" in said
    assert not root.ledger(SET).exists()
    code, said = privimage("ledger", "adopt-data", file, "--root", root.path)
    assert code == 0 and "these images are revision 1" in said and not root.ledger(SET).exists()
    assert Contents(root, SET).latest == 1


def test_counts_per_class_are_shown_on_a_terminal_only(privimage, write_sweep, root, image_folders):  # type: ignore[no-untyped-def]
    file = write_sweep()
    code, said = privimage("look", file, "--root", root.path)
    assert code == 0 and "60 images of 28 x 28 pixels, grey, 3 classes; " in said and "left out: nothing" in said
    code, said = privimage("look", file, "--root", root.path, "--private-counts")
    assert code == 2 and "only on a terminal" in said and "c00" not in said
    assert not root.ledger(SET).exists()


def test_counts_per_class_are_a_look_in_the_ledger(privimage, write_sweep, root, monkeypatch):  # type: ignore[no-untyped-def]
    file = write_sweep()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for _ in range(2):
        code, said = privimage("look", file, "--root", root.path, "--private-counts")
        assert code == 0 and "PRIVATE" in said and "c00" in said
    ledger = Ledger(root.ledger(SET))
    assert [(look.what, look.split) for look in ledger.looks()] == [
        ("counts per class, at the keyboard", split) for split in ("train", "validation", "test")
    ]


def test_counts_per_class_are_refused_where_no_look_is_admitted(privimage, write_sweep, root, monkeypatch):  # type: ignore[no-untyped-def]
    Ledger(root.ledger(SET)).forbid_looks()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, said = privimage("look", write_sweep(), "--root", root.path, "--private-counts")
    assert code == 2 and "counts per class" in said and "c00" not in said


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    from privimage.data.sources.folder import Folder

    inner = tmp_path / "cat" / "more"
    inner.mkdir(parents=True)
    for path in (tmp_path / "cat" / "a.png", tmp_path / "cat" / "b.txt", tmp_path / "cat" / ".c.png", tmp_path / "d"):
        path.touch()
    assert Folder(name="folder", root=str(tmp_path)).left_out() == {
        "directories inside a class directory": 1,
        "files of other kinds": 1,
        "hidden files": 1,
        "files outside a class directory": 1,
    }
