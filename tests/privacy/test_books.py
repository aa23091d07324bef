"""Ledger and store check each other: no paid answer is handed out without its charge, wherever the ledger went."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privimage import reconcile
from privimage.errors import BudgetExceeded, InputError, LostAnswer, Unpaid
from privimage.paths import Root
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.accounting.law import Law
from privimage.privacy.budget import Event
from privimage.privacy.chain import Head
from privimage.privacy.covered import CoveredLedger
from privimage.privacy.ledger import Ledger
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.workers import Workers

QUERY = Event(purpose="query", split="train", sigma=5, shared="00ff")
SGD = Event(purpose="dp-sgd", split="train", sigma=2, q=0.25, steps=16)
SCORE = Event(purpose="score", split="validation", sigma=30)
BEST = BestOf(law=Law(mean=10), events=(SGD,), score=SCORE)
SET, SELECTION = "faces-v1", "s" * 64
KINDS = ("histogram", "selection", "generator", "samples", "score")


class Pipeline:
    """Query, what is selected by it, training, its images, their score: as a trial asks for them, or one alone."""

    def __init__(self, root: Root, *, selection: bool = False) -> None:
        self.root, self.built = root, []
        ledger = Ledger(root.ledger(SET), division="by content")
        covered = CoveredLedger(ledger, inner=root.covered(SET), selection=SELECTION, cost=BEST)
        if selection:
            covered.open(trials=1)
            ledger.charge(id=SELECTION, what="the best of K trials", events=(BEST,))
        store = FileStore(root.store)
        self.stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=covered if selection else ledger)

    def made(self, kind: str, *events: Event) -> Built:
        self.built.append(kind)
        return Built(arrays={"a": np.ones(2)}, privacy="released", events=events)

    def private(self, kind: str, event: Event) -> None:
        self.stages.private(
            kind, {}, what=kind, events=(event,), build=lambda entropy, progress: self.made(kind, event)
        )

    def public(self, kind: str, *events: Event) -> None:
        self.stages.public(kind, {}, lambda progress: self.made(kind, *events))

    def ask(self, kind: str) -> None:
        match kind:
            case "histogram":
                self.private(kind, QUERY)
            case "selection":
                self.public(kind, QUERY)
            case "generator":
                self.private(kind, SGD)
            case "samples":
                self.public(kind, QUERY, SGD)
            case "score":
                self.private(kind, SCORE)

    def run(self) -> Pipeline:
        self.public("query-function")
        for kind in KINDS:
            self.ask(kind)
        return self


def lose(path: Path, *, keep: int) -> None:
    """Put a ledger back to what it was after `keep` lines, as a backup would; with none, remove it."""
    lines = path.read_text().splitlines(keepends=True)[:keep]
    if not lines:
        path.unlink()
        path.with_suffix(".head").unlink()
        return
    path.write_text("".join(lines))
    path.with_suffix(".head").write_text(Head(lines=keep, hash=json.loads(lines[-1])["hash"]).model_dump_json())


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(path=tmp_path / "runs")


STILL_HELD = ((), ("histogram", "selection"), ("histogram", "selection", "generator", "samples"))  # by charges kept


def refuses_until_adopted(root: Root, *, epsilon: float, keep: int = 0, selection: bool = False) -> None:
    """Whatever is asked for first is refused, nothing is asked or written; adopted, everything is a hit."""
    with pytest.raises(Unpaid, match=f"privimage ledger adopt {root.ledger(SET)}"):
        reconcile.check(root, SET)
    for kind in KINDS:
        before = snapshot(root)
        again = Pipeline(root)
        held = True
        try:
            again.ask(kind)
        except Unpaid:
            held = False
        assert again.built == [] and snapshot(root) == before
        assert held == (kind in STILL_HELD[keep]), "only what the ledger still holds"
    found = reconcile.missing(root, SET)
    assert reconcile.adopt(root, SET, found) == len(reconcile.wholes(found)) > 0
    reconcile.check(root, SET)
    assert Pipeline(root, selection=selection).run().built == []
    assert Ledger(root.ledger(SET)).epsilon(1e-5) == epsilon, "what was paid is stated again"
    assert reconcile.adopt(root, SET, found) == 0, "and not twice"


def snapshot(root: Root) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.path.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_ledger_that_was_deleted_or_rolled_back(root: Root, keep: int) -> None:
    assert Pipeline(root).run().built == ["query-function", *KINDS]
    epsilon = Ledger(root.ledger(SET)).epsilon(1e-5)
    lose(root.ledger(SET), keep=keep)
    refuses_until_adopted(root, epsilon=epsilon, keep=keep)


def test_a_ledger_that_was_left_behind_when_the_root_was_copied(root: Root, tmp_path: Path) -> None:
    Pipeline(root).run()
    other = Root(path=tmp_path / "copy")
    shutil.copytree(root.store, other.store)
    refuses_until_adopted(other, epsilon=Ledger(root.ledger(SET)).epsilon(1e-5))


def test_a_store_that_two_roots_share_by_a_link(root: Root, tmp_path: Path) -> None:
    Pipeline(root).run()
    other = Root(path=tmp_path / "other")
    other.path.mkdir()
    other.store.symlink_to(root.store)
    refuses_until_adopted(other, epsilon=Ledger(root.ledger(SET)).epsilon(1e-5))


def test_the_ledger_of_another_root_is_refused(root: Root, tmp_path: Path) -> None:
    Pipeline(root).run()
    other = Root(path=tmp_path / "other")
    Ledger(other.ledger(SET)).charge(id="else", what="else", events=(QUERY,))
    shutil.copy(other.ledger(SET), root.ledger(SET))
    with pytest.raises(InputError):  # its own head knows of more
        reconcile.check(root, SET)
    shutil.copy(other.ledger(SET).with_suffix(".head"), root.ledger(SET).with_suffix(".head"))
    with pytest.raises(Unpaid):
        reconcile.check(root, SET)


def test_a_ledger_reached_by_a_link_has_one_head_and_one_lock(root: Root, tmp_path: Path) -> None:
    Pipeline(root).run()
    other = another_store(root, tmp_path)
    Ledger(other.ledger(SET)).charge(id="more", what="more", events=(QUERY,))
    Ledger(root.ledger(SET)).charge(id="most", what="most", events=(QUERY,))
    assert Ledger(other.ledger(SET)).verify() == "agrees" == Ledger(root.ledger(SET)).verify()
    assert not other.ledger(SET).with_suffix(".head").exists()


def another_store(root: Root, tmp_path: Path) -> Root:
    """A root with a store of its own on the same ledger."""
    other = Root(path=tmp_path / "other")
    other.ledger(SET).parent.mkdir(parents=True)
    other.ledger(SET).symlink_to(root.ledger(SET))
    return other


def killed_before_its_charge(root: Root, patch: pytest.MonkeyPatch) -> None:
    def killed(self: Ledger, **values: object) -> bool:
        raise KeyboardInterrupt

    with patch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(Ledger, "charge", killed)
        Pipeline(root).ask("histogram")


def test_a_charge_pays_for_one_answer_in_whatever_store(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two stores, one ledger: the same question with other noise would be a second answer that nobody paid for."""
    killed_before_its_charge(root, monkeypatch)
    other = another_store(root, tmp_path)
    assert Pipeline(other).ask("histogram") is None and Ledger(root.ledger(SET)).charges()
    again = Pipeline(root)
    with pytest.raises(LostAnswer, match="paid for with other noise"):
        again.ask("histogram")
    assert again.built == []
    shutil.copytree(other.store / "artefacts", root.store / "artefacts")
    assert Pipeline(root).ask("histogram") is None and len(Ledger(root.ledger(SET)).charges()) == 1


@pytest.mark.parametrize("lost", ["outer", "inner", "both"])
def test_a_selection_without_its_charge(root: Root, lost: str) -> None:
    Pipeline(root, selection=True).run()
    epsilon = Ledger(root.ledger(SET)).epsilon(1e-5)
    for name, path in (("outer", root.ledger(SET)), ("inner", root.covered(SET))):
        if lost in (name, "both"):
            lose(path, keep=0)
    if lost == "inner":  # nothing is missing in the ledger of the set, and nothing is charged there again
        found = reconcile.missing(root, SET)
        assert found and reconcile.adopt(root, SET, found) == 0 and not reconcile.missing(root, SET)
        return
    found = reconcile.missing(root, SET)
    assert set(reconcile.wholes(found)) == {SELECTION, *(r.id for r in found if r.selection is None)}
    refuses_until_adopted(root, epsilon=epsilon, selection=True)


def test_the_wall_of_a_cap_holds_for_what_is_adopted(root: Root) -> None:
    from privimage.privacy.budget import Budget

    Pipeline(root).run()
    lose(root.ledger(SET), keep=0)
    Ledger(root.ledger(SET)).set_cap(Budget(epsilon=0.5, delta=1e-5))
    with pytest.raises(BudgetExceeded):
        reconcile.adopt(root, SET, reconcile.missing(root, SET))


def test_an_access_begun_under_a_lost_ledger_is_charged_again_and_asked_with_the_same_noise(root: Root) -> None:
    seen: list[int] = []

    def killed(entropy: int, progress: object) -> Built:
        seen.append(entropy)
        if len(seen) == 1:
            raise KeyboardInterrupt
        return Built(arrays={"a": np.ones(1)}, privacy="released", events=(QUERY,))

    def ask() -> None:
        Pipeline(root).stages.private("histogram", {}, what="query", events=(QUERY,), build=killed)

    with pytest.raises(KeyboardInterrupt):
        ask()
    lose(root.ledger(SET), keep=0)
    ask()
    assert seen[0] == seen[1] and len(Ledger(root.ledger(SET)).charges()) == 1


def test_an_answer_that_another_key_was_paid_for_is_refused(root: Root) -> None:
    Pipeline(root).run()
    store = FileStore(root.store)
    key = next(store.find("histogram")).key
    folder = store.folder("histogram", key)
    folder.rename(folder.with_name("0" * 64))
    with pytest.raises(LostAnswer):
        Pipeline(root).ask("histogram")
    (folder.with_name("0" * 64)).rename(folder)
    assert Pipeline(root).run().built == []


def unchecked_hits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "holds", lambda self, receipt: True)


def receipts_that_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    real = FileStore._write
    patch.setattr(
        FileStore,
        "_write",
        lambda self, kind, key, built: real(self, kind, key, Built(**{**vars(built), "receipts": ()})),
    )


def charges_without_a_mark(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.charge
    patch.setattr(Ledger, "charge", lambda self, **values: real(self, **{**values, "noise": None}))


def test_the_check_sees_an_answer_that_was_not_paid_for(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    charges_without_a_mark(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_charge_pays_for_one_answer_in_whatever_store(root, tmp_path, monkeypatch)


@pytest.mark.parametrize("fault", [unchecked_hits, receipts_that_are_not_kept])
def test_the_check_sees_the_fault(
    fault: Callable[[pytest.MonkeyPatch], None], root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_a_ledger_that_was_deleted_or_rolled_back(root, 0)
