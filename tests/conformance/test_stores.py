"""Every shelf keeps bytes by name, and whatever the shelf, nothing internal is on it and nothing is asked twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from privimage.address import ADDRESS
from privimage.errors import InputError, LostAnswer, Unpaid
from privimage.privacy.ledger import Ledger
from privimage.run_trial import run
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.stores.hidden import HiddenStore
from privimage.stores.manifest import Manifest
from privimage.stores.open import open_store
from privimage.stores.public_content import check_public
from privimage.stores.shared import SharedStore
from privimage.stores.shelf import STORES, Shelf
from privimage.stores.store import Built
from privimage.workers import Workers

NAMES = STORES.names()


def mounted(folder: Path) -> str:
    (folder / "shelf").mkdir(exist_ok=True)
    return (folder / "shelf").as_uri()


ADDRESSES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "file": lambda request: mounted(request.getfixturevalue("tmp_path")),
    "s3": lambda request: str(request.getfixturevalue("bucket_url")),
}
ALIKE = {"gs", "az"}  # no server of these runs here; they differ from s3 in a word, and obstore knows the rest


@pytest.fixture(params=sorted(ADDRESSES))
def address(request: pytest.FixtureRequest) -> str:
    """Of an empty shelf of every member."""
    return ADDRESSES[request.param](request)


def shelf_at(address: str) -> Shelf:
    return STORES.load(address.partition("://")[0]).open(address)


def root_at(folder: Path, address: str) -> SharedStore:
    folder.mkdir(exist_ok=True)
    (folder / ADDRESS).write_text(address + "\n")
    store = open_store(folder)
    assert isinstance(store, SharedStore)
    return store


def built(privacy: Any, seed: int = 0) -> Built:
    return Built(arrays={"x": np.random.default_rng(seed).normal(size=50)}, privacy=privacy)


def all_bytes(address: str) -> bytes:
    shelf = shelf_at(address)
    return b"".join(shelf.get(name) or b"" for name in shelf.find(""))


def test_every_shelf_has_an_address() -> None:
    assert set(NAMES) == set(ADDRESSES) | ALIKE
    own = {name: {key for key in vars(STORES.load(name)) if not key.startswith("_")} for name in ALIKE}
    assert own == {name: {"what"} for name in ALIKE}, "what is tested for s3 is what these do"


def test_bytes_come_back_by_name(address: str) -> None:
    shelf = shelf_at(address)
    assert shelf.get("a/b/c") is None and list(shelf.find("")) == []
    for name, raw in {"a/k1/one": b"1", "a/k1/two": b"2", "a/k2/one": b"", "ab/k1/one": bytes(10**6)}.items():
        shelf.put(name, raw)
        assert shelf_at(address).get(name) == raw
    shelf.put("a/k1/one", b"again")
    assert shelf.get("a/k1/one") == b"again" and shelf.get("a/k1") is None
    assert list(shelf.find("a/")) == ["a/k1/one", "a/k1/two", "a/k2/one"]
    assert list(shelf.find("")) == ["a/k1/one", "a/k1/two", "a/k2/one", "ab/k1/one"]


@pytest.mark.parametrize("privacy", ["public", "released"])
def test_what_one_root_made_another_finds(address: str, tmp_path: Path, privacy: Any) -> None:
    one, other = root_at(tmp_path / "one", address), root_at(tmp_path / "other", address)
    made = one.put("kind", "k" * 64, built(privacy))
    artefact, origin = other.fetch("kind", "k" * 64, lambda: pytest.fail("built again"))
    assert origin == "hit" and artefact.manifest == made.manifest
    assert (artefact.arrays["x"] == made.arrays["x"]).all()
    assert FileStore(other.root).get("kind", "k" * 64) is not None, "kept here too"
    third = root_at(tmp_path / "third", address)
    assert [manifest.key for manifest in third.find("kind")] == ["k" * 64] and list(third.find("other")) == []


def internal_is_not_on_the_shelf(address: str, folder: Path) -> None:
    store = root_at(folder / "one", address)
    secret = store.put("kind", "s" * 64, built("internal", seed=1))
    seed = store.entropy("name").raw
    store.keep("name", seed + b"checkpoint")
    store.put("kind", "p" * 64, built("public"))
    there = all_bytes(address)
    assert b"checkpoint" not in there and seed not in there and secret.arrays["x"].tobytes() not in there
    assert b"s" * 64 not in there and built("public").arrays["x"].tobytes() in there
    assert root_at(folder / "other", address).get("kind", "s" * 64) is None


def test_internal_is_not_on_the_shelf(address: str, tmp_path: Path) -> None:
    internal_is_not_on_the_shelf(address, tmp_path)


def test_a_store_that_shows_it_is_seen(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(self: SharedStore, manifest: Manifest, raw: bytes) -> None:
        self._shelf.put(f"{manifest.kind}/{manifest.key}/arrays.safetensors", raw)
        FileStore._place(self, manifest, raw)

    monkeypatch.setattr(SharedStore, "_place", place)
    with pytest.raises(AssertionError):
        internal_is_not_on_the_shelf(address, tmp_path)


@pytest.mark.parametrize("file", ["manifest.json", "arrays.safetensors"])
def test_what_is_damaged_on_the_shelf_is_made_again(address: str, tmp_path: Path, file: str) -> None:
    root_at(tmp_path / "one", address).put("kind", "k" * 64, built("public"))
    shelf = shelf_at(address)
    raw = shelf.get(f"kind/{'k' * 64}/{file}")
    assert raw is not None
    shelf.put(f"kind/{'k' * 64}/{file}", raw[:-3] + b"xyz")
    artefact, origin = root_at(tmp_path / "other", address).fetch("kind", "k" * 64, lambda: built("public"))
    assert origin == "built" and (artefact.arrays["x"] == built("public").arrays["x"]).all()
    assert root_at(tmp_path / "third", address).get("kind", "k" * 64) is not None, "put there again"


def ran(folder: Path, address: str, ledger: Path) -> tuple[Any, dict[str, str]]:
    store = root_at(folder, address)
    stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(ledger))
    record = run(toys.trial(), public=toys.public_set(), sensitive=toys.sensitive_set(), stages=stages, sweep="toy")
    return record, {stage.name: stage.origin for stage in record.stages}


def test_a_trial_is_paid_once_whichever_root_it_runs_in(address: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    one, origins = ran(tmp_path / "one", address, ledger)
    assert set(origins.values()) == {"built"}
    charged = [charge.id for charge in Ledger(ledger).charges()]
    other, origins = ran(tmp_path / "other", address, ledger)
    assert {name for name, origin in origins.items() if origin != "hit"} == {"reference"} & set(origins)
    assert other.value("accuracy[lr]") == one.value("accuracy[lr]")
    assert [charge.id for charge in Ledger(ledger).charges()] == charged
    with pytest.raises(Unpaid):  # another ledger does not hold the charge
        ran(tmp_path / "third", address, tmp_path / "another.jsonl")


def test_a_paid_answer_that_is_lost_is_not_asked_again(address: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    record, _ = ran(tmp_path / "one", address, ledger)
    shelf = shelf_at(address)
    for name in shelf.find("histogram/"):
        shelf.put(name, b"damaged")
    with pytest.raises(LostAnswer):
        ran(tmp_path / "other", address, ledger)
    assert record.paid


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nfs://x", "store 'nfs': unknown"),
        ("s3://", "is no bucket"),
        ("s3://bucket//twice", "is no bucket"),
        ("az://container", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("somewhere", "should hold one URL"),
        ("file:///nowhere/at/all", "no such folder"),
        ("file://host/x", "three slashes"),
        ("\xff\xfe", "should hold one URL"),
    ],
)
def test_a_wrong_address_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / ADDRESS).write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        open_store(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path / ADDRESS) in str(caught.value)


def test_a_hidden_trial_leaves_what_is_on_the_shelf_there(address: str, tmp_path: Path) -> None:
    """What was fetched would lie outside, and tell which settings a private selection drew."""
    root_at(tmp_path / "one", address).put("kind", "k" * 64, built("public"))
    outer = root_at(tmp_path / "other", address)
    inner = HiddenStore(outer)
    before = sorted(outer.root.rglob("*"))
    _, origin = inner.fetch("kind", "k" * 64, lambda: built("public"))
    outside = [path for path in outer.root.rglob("*") if "internal" not in path.parts]
    assert origin == "built" and outside == [path for path in before if "internal" not in path.parts]


def test_what_is_here_is_on_the_shelf_too(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that is killed between the two leaves it on the shelf, never here alone."""
    store = root_at(tmp_path / "one", address)

    def killed(self: FileStore, manifest: Manifest, raw: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FileStore, "_place", killed)
        store.put("kind", "k" * 64, built("public"))
    assert FileStore(store.root).get("kind", "k" * 64) is None
    assert root_at(tmp_path / "other", address).get("kind", "k" * 64) is not None


def test_looking_for_manifests_fetches_nothing(address: str, tmp_path: Path) -> None:
    root_at(tmp_path / "one", address).put("kind", "k" * 64, built("public"))
    other = root_at(tmp_path / "other", address)
    assert [manifest.key for manifest in other.find("kind")] == ["k" * 64]
    assert FileStore(other.root).get("kind", "k" * 64) is None


def test_other_public_images_of_one_description_are_refused_in_every_root(address: str, tmp_path: Path) -> None:
    """Keys know a public set by its description: another root's artefacts of other images would be served."""
    images, identity = toys.public_set(), {"name": "folder", "root": "/public"}
    roots = [root_at(tmp_path / name, address).root for name in ("one", "other", "third")]
    check_public(images, identity=identity, store=roots[0])
    check_public(images, identity=identity, store=roots[1])
    changed = replace(images, y=images.y[::-1].copy())
    with pytest.raises(InputError, match=r"data\.public: the images of /public are others than those that the shelf"):
        check_public(changed, identity=identity, store=roots[2])
    assert not (roots[2] / "public").exists(), "it may take the right ones yet"
    check_public(images, identity=identity, store=roots[2])
    check_public(changed, identity={**identity, "root": "/other"}, store=roots[2])
    assert list(root_at(tmp_path / "one", address).find()) == [], "it is no artefact"
