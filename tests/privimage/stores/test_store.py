"""The store: whole or absent, single flight, damage, and the entropy of private accesses."""

from __future__ import annotations

import secrets
import stat
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privimage.errors import Damaged, LostAnswer
from privimage.privacy.budget import Event
from privimage.stores.file import FileStore
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state

EVENT = Event(purpose="query", split="train", sigma=5)
PUBLIC = Built(arrays={"a": np.arange(6.0).reshape(2, 3)}, privacy="public", meta={"n": 1})
PAID = Built(arrays={"a": np.ones(3)}, privacy="released", events=(EVENT,))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


def damage(store: FileStore, name: str = "arrays.safetensors") -> None:
    path = store.folder("kind", "key") / name
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def test_what_was_put_is_got(store: FileStore) -> None:
    assert store.get("kind", "key") is None
    put, got = store.put("kind", "key", PUBLIC), store.get("kind", "key")
    assert got is not None and got.manifest == put.manifest
    assert got.manifest.meta == {"n": 1} and got.manifest.privacy == "public"
    np.testing.assert_array_equal(got.arrays["a"], PUBLIC.arrays["a"])


@given(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=0, max_dims=3),
            elements={"allow_nan": False, "allow_infinity": False} if np.issubdtype(dtype, np.floating) else None,
        )
    )
)
@settings(max_examples=20, deadline=None)
def test_every_shape_survives(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    store = FileStore(tmp_path_factory.mktemp("shape"))
    built = Built(arrays={"a": array, "t": array.T}, privacy="public")
    store.put("kind", "key", built)
    got = store.get("kind", "key")
    assert got is not None
    for name, expected in built.arrays.items():
        assert got.arrays[name].shape == expected.shape and got.arrays[name].dtype == expected.dtype
        assert got.arrays[name].tobytes() == expected.tobytes()


def test_a_state_dict_makes_the_round_trip_into_memory_of_its_own(store: FileStore) -> None:
    state = {"w": torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), "count": torch.tensor(3)}
    arrays = store.put("kind", "key", Built(arrays=numpy_state(state), privacy="public")).arrays
    again = torch_state(arrays)
    again["w"].zero_()
    assert (state["w"] != 0).all() and torch_state(arrays)["w"].ne(0).all() and again["count"].shape == ()


def test_the_first_put_stays(store: FileStore) -> None:
    store.put("kind", "key", PUBLIC)
    later = store.put("kind", "key", Built(arrays={"a": np.zeros(1)}, privacy="public"))
    assert later.arrays["a"].shape == (2, 3)
    assert [path.name for path in store.folder("kind", "key").parent.iterdir()] == ["key"]  # no draft is left


def test_a_put_that_was_killed_leaves_nothing_to_find(store: FileStore) -> None:
    draft = store.folder("kind", "key").parent / ".draft-abc"
    draft.mkdir(parents=True)
    (draft / "arrays.safetensors").write_bytes(b"half")
    assert store.get("kind", "key") is None
    assert store.fetch("kind", "key", lambda: PUBLIC)[1] == "built"


def test_readers_see_all_or_nothing(store: FileStore) -> None:
    big, seen, stop = np.arange(400_000.0), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = store.get("kind", "key")
            if found is not None:
                seen.append(found.arrays["a"].sum())

    reader = threading.Thread(target=read)
    reader.start()
    store.put("kind", "key", Built(arrays={"a": big}, privacy="public"))
    deadline = time.monotonic() + 5
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    reader.join()
    assert seen and set(seen) == {big.sum()}


def test_damaged_public_arrays_are_computed_again(store: FileStore) -> None:
    store.put("kind", "key", PUBLIC)
    damage(store)
    with pytest.raises(Damaged, match=r"kind/key/arrays\.safetensors: damaged"):
        store.get("kind", "key")
    artefact, origin = store.fetch("kind", "key", lambda: PUBLIC)
    assert origin == "built" and artefact.arrays["a"].sum() == 15


@pytest.mark.parametrize("name", ["arrays.safetensors", "manifest.json"])
def test_public_files_that_are_gone_are_computed_again(store: FileStore, name: str) -> None:
    store.put("kind", "key", PUBLIC)
    (store.folder("kind", "key") / name).unlink()
    assert store.fetch("kind", "key", lambda: PUBLIC)[1] == "built"


def test_a_damaged_paid_answer_is_lost_not_asked_again(store: FileStore) -> None:
    store.put("kind", "key", PAID)
    damage(store)
    for _ in range(2):
        with pytest.raises(LostAnswer, match="never asked again; restore"):
            store.fetch("kind", "key", lambda: PAID, paid=True)
    assert (store.folder("kind", "key") / "arrays.safetensors").exists()  # whoever restores it finds its place


def test_a_damaged_manifest_is_an_error_that_names_the_file(store: FileStore) -> None:
    store.put("kind", "key", PUBLIC)
    (store.folder("kind", "key") / "manifest.json").write_text("{")
    with pytest.raises(Damaged, match=r"kind/key/manifest\.json: damaged"):
        store.get("kind", "key")


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(store: FileStore) -> None:
    def fail() -> Built:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.fetch("kind", "key", fail)
    assert store.fetch("kind", "key", lambda: PUBLIC)[1] == "built"
    assert store.fetch("kind", "key", fail)[1] == "hit"


def test_threads_share_one_build(tmp_path: Path) -> None:
    built, origins = [], []

    def build() -> Built:
        built.append(1)
        time.sleep(0.1)
        return PUBLIC

    def fetch() -> None:
        origins.append(FileStore(tmp_path).fetch("kind", "key", build)[1])

    threads = [threading.Thread(target=fetch) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1 and origins.count("built") == 1 and set(origins) <= {"built", "joined", "hit"}


def test_processes_share_one_build(pair: dict[str, Any]) -> None:
    reports = pair["reports"]
    assert sorted(report["origin"] for report in reports) == ["built", "joined"]
    assert reports[0]["value"] == reports[1]["value"]


# ---- entropy


def test_entropy_is_drawn_once_kept_and_forgotten(store: FileStore) -> None:
    first = store.entropy("name")
    assert store.has_entropy("name") and store.entropy("name") == first == FileStore(store.root).entropy("name")
    store.forget("name")
    store.forget("name")  # twice is no error
    assert not store.has_entropy("name") and store.entropy("name") != first


def test_only_the_owner_may_read_entropy(store: FileStore) -> None:
    store.entropy("name")
    (path,) = (store.root / "internal").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_two_stores_and_two_names_draw_different_entropy(tmp_path: Path) -> None:
    values = [FileStore(tmp_path / folder).entropy(name) for folder in "ab" for name in ("x", "y")]
    assert len(set(values)) == 4 and all(len(value.raw) == 32 for value in values)


@pytest.mark.parametrize("left", ["", "0123"])
def test_entropy_that_was_cut_while_being_written_is_drawn_anew(store: FileStore, left: str) -> None:
    store.entropy("name")
    (store.root / "internal" / "name.seed").write_text(left)
    value = store.entropy("name")
    assert len(set(value.raw)) > 8 and store.entropy("name") == value


def test_two_that_ask_for_entropy_at_once_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, other_is_done, values = secrets.token_bytes, threading.Event(), []

    def slow_for_the_first(count: int) -> bytes:
        if threading.current_thread().name == "first":
            other_is_done.wait(0.5)
        return draw(count)

    monkeypatch.setattr(secrets, "token_bytes", slow_for_the_first)
    first = threading.Thread(target=lambda: values.append(FileStore(tmp_path).entropy("name")), name="first")
    first.start()
    time.sleep(0.1)  # the first has made its file and draws
    values.append(FileStore(tmp_path).entropy("name"))
    other_is_done.set()
    first.join()
    assert len({*values, FileStore(tmp_path).entropy("name")}) == 1
