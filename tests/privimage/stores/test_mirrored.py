"""The working folder of a root in a bucket: what one machine wrote another has; secrets are in the bucket alone."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privimage import lines
from privimage.bucket import Bucket
from privimage.disk import make_folder, write_whole
from privimage.errors import Damaged, InputError, LostAnswer
from privimage.mirror import MARK, mirror_of
from privimage.paths import Root
from privimage.pull import made, pull, pulled_ledger, pulled_run
from privimage.stores import inventory, room
from privimage.stores.file import ARRAYS
from privimage.stores.mirrored import MirroredStore
from privimage.stores.open import open_store
from privimage.stores.store import Built

KEY = "k" * 64
Patch = pytest.MonkeyPatch
At = Callable[[str], Root]


@pytest.fixture
def at(bucket_url: str, tmp_path: Path) -> At:
    """The root as a machine of that name has it."""
    return lambda name: Root(path=made(bucket_url, at=tmp_path / name))


def store_of(root: Root) -> MirroredStore:
    store = open_store(root.store)
    assert isinstance(store, MirroredStore)
    return store


def built(privacy: Any, seed: int = 0) -> Built:
    return Built(arrays={"x": np.random.default_rng(seed).normal(size=50)}, privacy=privacy)


def never() -> Built:
    raise AssertionError("built again")


def on_disk(root: Root) -> bytes:
    return b"".join(path.read_bytes() for path in root.path.rglob("*") if path.is_file())


@pytest.mark.parametrize("privacy", ["public", "released", "internal"])
def test_what_one_machine_made_another_finds(at: At, bucket_url: str, privacy: Any) -> None:
    put = store_of(at("one")).put("kind", KEY, built(privacy))
    other = store_of(at("other"))
    assert [manifest.key for manifest in other.find("kind")] == [KEY] and list(other.find("none")) == []
    artefact, origin = other.fetch("kind", KEY, never)
    assert origin == "hit" and artefact.manifest == put.manifest and (artefact.arrays["x"] == put.arrays["x"]).all()
    names = list(Bucket.open(bucket_url).names())
    place = "store/internal/artefacts" if privacy == "internal" else "store/artefacts"
    assert names and all(name.startswith(f"{place}/kind/{KEY}/") for name in names)


def test_of_two_builds_the_first_is_kept_by_both(at: At, bucket_url: str) -> None:
    one, other = store_of(at("one")), store_of(at("other"))

    def overtaken() -> Built:
        one.put("kind", KEY, built("public", seed=1))
        return built("public", seed=2)

    artefact, _ = other.fetch("kind", KEY, overtaken)
    assert (artefact.arrays["x"] == built("public", seed=1).arrays["x"]).all()
    third = store_of(at("third")).get("kind", KEY)
    assert third is not None and (third.arrays["x"] == artefact.arrays["x"]).all()


def test_a_writer_that_dies_before_the_manifest_leaves_nothing_that_is_found(at: At, monkeypatch: Patch) -> None:
    create = Bucket.create

    def killed(self: Bucket, name: str, raw: bytes) -> bool:
        if name.endswith("manifest.json"):
            raise KeyboardInterrupt
        return create(self, name, raw)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Bucket, "create", killed)
        store_of(at("one")).put("kind", KEY, built("public"))
    for name in ("one", "other"):
        assert store_of(at(name)).get("kind", KEY) is None
    _, origin = store_of(at("other")).fetch("kind", KEY, lambda: built("public", seed=3))
    assert origin == "built"


def secrets_are_in_the_bucket_alone(at: At) -> None:
    one, other = store_of(at("one")), store_of(at("other"))
    seed = one.entropy("name")
    one.keep("name", b"checkpoint 1")
    one.keep("name", b"checkpoint 2")
    assert other.has_entropy("name") and other.entropy("name") == seed == one.entropy("name")
    assert other.kept("name") == b"checkpoint 2"
    for root in (at("one"), at("other")):
        assert seed.raw.hex().encode() not in on_disk(root) and b"checkpoint 2" not in on_disk(root)
    other.forget("name")
    assert not one.has_entropy("name") and one.kept("name") is None and one.entropy("name") != seed


def test_secrets_are_in_the_bucket_alone(at: At) -> None:
    secrets_are_in_the_bucket_alone(at)


def test_a_machine_that_draws_its_own_is_seen(at: At, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Bucket, "create", lambda self, name, raw: (self.put(name, raw), True)[1])
    monkeypatch.setattr(Bucket, "check_conditions", lambda self: None)
    with pytest.raises(AssertionError):
        secrets_are_in_the_bucket_alone(at)


def test_what_an_answer_was_begun_with_goes_once_it_is_stored(at: At) -> None:
    store = store_of(at("one"))
    for name in (f"kind-{KEY}", f"other-{KEY}"):
        store.entropy(name)
    store.put("kind", KEY, built("released"))
    store_of(at("other")).tidy()
    assert not store.has_entropy(f"kind-{KEY}") and store.has_entropy(f"other-{KEY}")


def test_machines_that_draw_at_once_draw_the_same(at: At) -> None:
    drawn: list[bytes] = []
    stores = [store_of(at(str(i))) for i in range(6)]
    threads = [threading.Thread(target=lambda s=store: drawn.append(s.entropy("name").raw)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 6 and len(set(drawn)) == 1


def test_a_damaged_seed_is_never_drawn_again(at: At, bucket_url: str) -> None:
    store = store_of(at("one"))
    store.entropy("name")
    Bucket.open(bucket_url).put("store/internal/name.seed", b"damaged")
    with pytest.raises(LostAnswer, match="damaged"):
        store.entropy("name")


def test_a_damaged_copy_is_fetched_anew_and_a_damaged_original_made_again_if_it_is_free(
    at: At, bucket_url: str
) -> None:
    store = store_of(at("one"))
    manifest = store.put("kind", KEY, built("released")).manifest
    path = store.folder("kind", KEY) / "arrays.safetensors"
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    artefact, origin = store.fetch("kind", KEY, never, paid=True)
    assert origin == "hit" and artefact.manifest == manifest
    Bucket.open(bucket_url).put(f"store/artefacts/kind/{KEY}/{manifest.sha256}.safetensors", b"damaged")
    other = store_of(at("other"))
    with pytest.raises(LostAnswer):
        other.fetch("kind", KEY, never, paid=True)
    artefact, origin = other.fetch("kind", KEY, lambda: built("released", seed=4))
    assert origin == "built" and (artefact.arrays["x"] == built("released", seed=4).arrays["x"]).all()
    third = store_of(at("third")).get("kind", KEY)
    assert third is not None and (third.arrays["x"] == artefact.arrays["x"]).all()


def test_lines_of_several_machines_come_together(at: At, monkeypatch: Patch) -> None:
    runs = [at(name).run("demo") for name in ("one", "other", "third")]
    for i in range(6):
        make_folder(runs[i % 2].path)
        lines.append(runs[i % 2].records, f'{{"i":{i}}}')
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def killed(path: Path, *words: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr("privimage.lines.os.fsync", killed)
        lines.append(runs[1].records, '{"i":6}')
    for run in runs:
        pull(run.path)
        pull(run.path)
        assert [lines.parse(line) for line in run.records.read_bytes().splitlines()] == [
            f'{{"i":{i}}}'.encode() for i in range(7)
        ]
    write_whole(runs[0].bill, "first")
    write_whole(runs[0].bill, "second")
    pull(runs[1].path)
    assert runs[1].bill.read_text() == "second"


def test_a_line_that_is_damaged_in_the_bucket_is_left_out(at: At, bucket_url: str) -> None:
    run = at("one").run("demo")
    make_folder(run.path)
    lines.append(run.records, '{"i":0}')
    lines.append(run.records, '{"i":1}')
    bucket = Bucket.open(bucket_url)
    first = next(iter(bucket.names("demo")))
    bucket.put(first, b'{"i":5}\n')
    other = at("other").run("demo")
    pull(other.path)
    assert [lines.parse(line) for line in other.records.read_bytes().splitlines()] == [b'{"i":1}']


def test_processes_that_make_a_working_folder_at_once_do_not_meet(bucket_url: str, tmp_path: Path) -> None:
    failed: list[Exception] = []

    def make() -> None:
        try:
            for i in range(20):
                made(bucket_url, at=tmp_path / str(i))
        except InputError as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {".bucket", "address"}


def test_what_vanishes_from_the_bucket_after_it_was_listed_stays_here(at: At, monkeypatch: Patch) -> None:
    run, other = at("one").run("demo"), at("other").run("demo")
    make_folder(run.path)
    lines.append(run.records, '{"i":0}')
    write_whole(run.bill, "whole")
    pull(other.path)
    lines.append(run.records, '{"i":1}')
    monkeypatch.setattr(Bucket, "get", lambda self, name: None)
    pull(other.path)
    assert other.bill.read_text() == "whole" and other.records.read_bytes().count(b"\n") == 1
    fresh = at("fresh").run("demo")
    pull(fresh.path)
    assert not fresh.bill.exists()


def test_a_line_is_fetched_once(at: At, monkeypatch: Patch) -> None:
    run, other = at("one").run("demo"), at("other").run("demo")
    make_folder(run.path)
    for i in range(5):
        lines.append(run.records, f'{{"i":{i}}}')
    pull(other.path)
    lines.append(run.records, '{"i":5}')
    fetched = []
    get = Bucket.get
    monkeypatch.setattr(Bucket, "get", lambda self, name: (fetched.append(name), get(self, name))[1])
    pull(other.path)
    assert len(fetched) == 1 and len(other.records.read_bytes().splitlines()) == 6


def test_a_line_that_is_added_while_the_bucket_is_listed_stays(at: At, monkeypatch: Patch) -> None:
    run, other = at("one").run("demo"), at("other").run("demo")
    make_folder(run.path)
    for which in (run, other):
        make_folder(which.path)
        lines.append(which.records, '{"i":0}')
        lines.append(which.records, '{"i":1}')
    names = Bucket.names

    def meanwhile(self: Bucket, folder: str = "") -> Any:
        found = list(names(self, folder))
        if folder == "demo":
            lines.append(run.records, '{"i":2}')
            write_whole(run.bill, "new")
        return found

    monkeypatch.setattr(Bucket, "names", meanwhile)
    pull(run.path, lines_only=True)
    assert b'{"i":2}' in [lines.parse(line) for line in run.records.read_bytes().splitlines()]
    assert run.bill.read_text() == "new"


def test_addresses_of_roots_runs_and_ledgers(
    bucket_url: str, tmp_path: Path, monkeypatch: Patch, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("PRIVIMAGE_CACHE", str(tmp_path / "cache"))
    root = Root.at(bucket_url + "/")
    assert root == Root.at(bucket_url) and root.path.is_relative_to(tmp_path / "cache")
    assert root.path.stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="no such run"):
        pulled_run(f"{bucket_url}/demo")
    assert pulled_ledger(f"{bucket_url}/ledgers/x.jsonl") == root.ledger("x")
    with pytest.raises(InputError, match=r"expected s3://bucket/folder/ledgers/ID\.jsonl"):
        pulled_ledger(f"{bucket_url}/x.jsonl")
    for words, says in (
        (("status", f"{bucket_url}/demo"), "RUN: s3://.* no such run"),
        (("sweep", "demo", "--root", "s3://no-such-bucket-here/x"), "--root: s3://.* there is no such bucket"),
        (("plan", "demo", "--no-estimate", "--root", bucket_url, "--set", "tuning.mode=select",
          "--set", 'objectives={"dp-accuracy[cnn]": max}', "--set", "compare=[]"), "would tell it by the times"),
    ):  # fmt: skip
        code, out, err = privimage(*words)
        assert code == 2 and re.search(says, " ".join((out + err).split())), (code, out, err)
        assert "Traceback" not in err


def test_a_mark_that_names_no_bucket_is_one_line_with_its_file(tmp_path: Path) -> None:
    (tmp_path / MARK).write_text("junk")
    with pytest.raises(InputError, match=r"\.bucket: got 'junk'; it should hold the URL"):
        mirror_of(tmp_path / "run")


def test_a_scheme_alone_is_named_as_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gs://: is no bucket"):
        made("gs://", at=tmp_path)


def test_copies_go_by_themselves_and_what_was_used_last_stays(at: At, monkeypatch: Patch, bucket_url: str) -> None:
    """Ten artefacts of which about four have room; the first one is used again and again."""
    keys = [str(i) * 64 for i in range(10)]
    monkeypatch.setenv(room.VARIABLE, "5kB")
    store = store_of(at("one"))
    for i, key in enumerate(keys):
        store.put("kind", key, built("internal" if i % 2 else "public", seed=i))
        os.utime(store.folder("kind", key) / ARRAYS, (1e9 + i, 1e9 + i))
        assert store.get("kind", keys[0]) is not None
    here = {path.name for path in (store.root / "artefacts" / "kind").iterdir()}
    assert {keys[0], keys[-1]} <= here and keys[1] not in here and len(here) < 7
    assert sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file()) < 6000
    for i, key in enumerate(keys):  # all of it is in the bucket
        artefact, origin = store.fetch("kind", key, never)
        assert origin == "hit" and (artefact.arrays["x"] == built("public", seed=i).arrays["x"]).all()


def test_copies_that_go_while_they_are_listed_are_found_in_the_bucket(at: At, monkeypatch: Patch) -> None:
    """Of what goes after the folder was listed, the manifest in the bucket is told."""
    store, keys = store_of(at("one")), [name * 64 for name in "abc"]
    for key in keys:
        store.put("kind", key, built("released"))
    found = store.find("kind")
    names = [next(found).key]
    inventory.remove(store, inventory.unneeded(store, to=0))
    assert sorted(names + [manifest.key for manifest in found]) == keys
    assert list((store.root / "artefacts" / "kind").iterdir()) == []


def test_a_damaged_copy_of_what_the_bucket_has_lost_is_told(at: At, bucket_url: str) -> None:
    """It may have been paid for: nothing may go on as if it had never been there."""
    store, bucket = store_of(at("one")), Bucket.open(bucket_url)
    store.put("kind", KEY, built("released"))
    (store.folder("kind", KEY) / "manifest.json").write_bytes(b"damaged")
    assert [manifest.key for manifest in store.find("kind")] == [KEY], "of the bucket"
    for name in list(bucket.names("store/artefacts")):
        bucket.delete(name)
    with pytest.raises(Damaged, match="damaged"):
        list(store.find("kind"))
    with pytest.raises(LostAnswer):
        store.fetch("kind", KEY, never, paid=True)
    assert store.fetch("kind", KEY, lambda: built("public"))[1] == "built", "what is free"
    assert store.get("kind", KEY) is not None and store_of(at("other")).get("kind", KEY) is not None


def test_what_the_bucket_has_lost_stays_however_little_room_there_is(
    at: At, monkeypatch: Patch, bucket_url: str
) -> None:
    store, bucket = store_of(at("one")), Bucket.open(bucket_url)
    store.put("kind", KEY, built("released"))
    os.utime(store.folder("kind", KEY) / ARRAYS, (1, 1))
    for name in list(bucket.names("store/artefacts")):
        bucket.delete(name)
    monkeypatch.setenv(room.VARIABLE, "1kB")
    other = store_of(at("one"))
    other.put("kind", "a" * 64, built("public"))
    assert (store.folder("kind", KEY) / ARRAYS).exists()


def test_stores_that_a_process_opens_one_after_another_look_once(at: At, monkeypatch: Patch) -> None:
    """Every trial opens the store: to read all manifests each time would make late trials dear."""
    monkeypatch.setenv(room.VARIABLE, "1GB")
    root, looked, unneeded = at("one"), [], inventory.unneeded
    monkeypatch.setattr(inventory, "unneeded", lambda *words, **more: (looked.append(1), unneeded(*words, **more))[1])
    for i in range(5):
        store_of(root).put("kind", str(i) * 64, built("public", seed=i))
    assert len(looked) == 1


def test_a_limit_that_is_no_size_is_one_line(at: At, monkeypatch: Patch) -> None:
    root = at("one")
    monkeypatch.setenv(room.VARIABLE, "much")
    with pytest.raises(InputError, match=r"^PRIVIMAGE_CACHE_SIZE: got 'much'; expected a size"):
        open_store(root.store)
