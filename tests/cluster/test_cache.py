from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from privimage.cluster import cache
from privimage.cluster.cache import LEASE_SECONDS, CacheActor, CacheState, SharedCache, start_cache
from privimage.methods.declared import Declaration, Stage
from privimage.progress import Progress
from privimage.schema import digest
from privimage.station import PATIENCE_SECONDS, Elsewhere, Station
from privimage.stores.file import FileStore
from privimage.stores.store import Built

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files

SHORT_LEASE = 1.0
NAME = "test-cache"


# -- the bookkeeping, without Ray


def test_one_live_lease_a_key() -> None:
    state = CacheState()
    assert state.claim("a", now=0.0)[0] == "build"
    assert state.claim("a", now=1.0) == ("wait", None)
    assert state.claim("b", now=1.0)[0] == "build"


def test_a_silent_builder_loses_its_lease_and_a_late_one_is_fenced_off() -> None:
    state = CacheState()
    _, first = state.claim("a", now=0.0)
    assert state.claim("a", now=LEASE_SECONDS - 0.1) == ("wait", None)
    answer, second = state.claim("a", now=LEASE_SECONDS)
    assert answer == "build" and second > first
    assert not state.renew("a", first, now=LEASE_SECONDS)  # the token of the first is no longer good
    state.release("a", first)
    assert state.claim("a", now=LEASE_SECONDS + 1) == ("wait", None)
    assert state.renew("a", second, now=LEASE_SECONDS + 1)


def test_a_heartbeat_keeps_the_lease() -> None:
    state = CacheState()
    _, token = state.claim("a", now=0.0)
    for beat in range(1, 10):
        assert state.renew("a", token, now=beat * LEASE_SECONDS * 0.9)
        assert state.claim("a", now=beat * LEASE_SECONDS * 0.9 + LEASE_SECONDS * 0.5) == ("wait", None)


def test_a_released_lease_lets_the_next_one_build() -> None:
    state = CacheState()
    _, token = state.claim("a", now=0.0)
    state.release("a", token)
    assert state.claim("a", now=0.0)[0] == "build"
    assert not state.renew("a", token, now=0.0)


def test_the_least_recently_used_go_first_by_bytes() -> None:
    state = CacheState(limit_bytes=100)
    for key in "ab":
        state.keep(key, f"manifest {key}", {"x": key}, 40)
    assert state.claim("a", now=0.0) == ("value", ("manifest a", {"x": "a"}))  # b is now the oldest
    state.keep("c", "manifest c", {}, 40)
    assert state.claim("b", now=0.0)[0] == "build"
    assert state.claim("a", now=0.0)[0] == state.claim("c", now=0.0)[0] == "value"


def test_keeping_a_key_twice_counts_it_once() -> None:
    state = CacheState(limit_bytes=100)
    state.keep("other", "", {}, 30)
    for _ in range(5):
        state.keep("a", "", {}, 60)
    assert state.claim("other", now=0.0)[0] == "value"


def test_a_value_beyond_the_limit_replaces_all_others_but_is_served() -> None:
    state = CacheState(limit_bytes=100)
    state.keep("small", "", {}, 1)
    state.keep("large", "", {}, 1000)
    assert state.claim("large", now=0.0)[0] == "value"
    assert state.claim("small", now=0.0)[0] == "build"


# -- on Ray


class ShortLeases(CacheActor):
    """The actor, with leases that end after a second."""

    def __init__(self) -> None:
        cache.LEASE_SECONDS = SHORT_LEASE
        super().__init__()


@pytest.fixture(scope="module")
def actor(local_ray: None) -> Iterator[Any]:
    handle = start_cache(NAME)
    yield handle
    ray.kill(handle)


def key_of(root: Path) -> str:
    return digest(str(root))


def lease_of(root: Path) -> str:
    return SharedCache(store=FileStore(root), actor=None)._lease("kind", key_of(root))


@ray.remote(num_cpus=0.2, max_retries=0)
def fetch(root: Path, actor: Any, *, privacy: Any = "public", seconds: float = 0.0) -> tuple[str, Any]:
    """(origin, array) of a key of its own for every `root`; a build writes its pid, then takes `seconds`."""

    def build() -> Built:
        with (root / "builds").open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return Built(arrays={"x": np.arange(1000.0)}, privacy=privacy)

    cache.RENEW_SECONDS = SHORT_LEASE / 5
    artefact, origin = SharedCache(store=FileStore(root), actor=actor).fetch("kind", key_of(root), build)
    return origin, np.array(artefact.arrays["x"])


def builders(root: Path) -> list[int]:
    path = root / "builds"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def wait_for(condition: Callable[[], Any], *, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_four_tasks_one_build(tmp_path: Path, actor: Any) -> None:
    answers = ray.get([fetch.remote(tmp_path, actor, seconds=2) for _ in range(4)], timeout=120)
    assert len(builders(tmp_path)) == 1
    origins = sorted(origin for origin, _ in answers)
    assert origins.count("built") == 1 and set(origins) <= {"built", "joined", "hit"}
    for _, array in answers:
        np.testing.assert_array_equal(array, np.arange(1000.0))
    assert ray.get(fetch.remote(tmp_path, actor), timeout=60)[0] == "hit"


@pytest.mark.thorough
def test_a_builder_killed_in_mid_build_is_replaced(tmp_path: Path, local_ray: None) -> None:
    actor = ray.remote(ShortLeases).options(num_cpus=0, max_concurrency=100).remote()
    killed = fetch.remote(tmp_path, actor, seconds=600)
    wait_for(lambda: builders(tmp_path))
    waiting = fetch.remote(tmp_path, actor)
    time.sleep(3 * SHORT_LEASE)  # longer than a lease: the heart beats, so nobody takes over
    assert len(builders(tmp_path)) == 1
    os.kill(builders(tmp_path)[0], signal.SIGKILL)
    origin, array = ray.get(waiting, timeout=60)
    assert origin == "built" and len(builders(tmp_path)) == 2
    np.testing.assert_array_equal(array, np.arange(1000.0))
    with pytest.raises(ray.exceptions.RayError):
        ray.get(killed, timeout=60)
    ray.kill(actor)


def test_what_a_killed_builder_left_is_still_served(tmp_path: Path, actor: Any) -> None:
    """The actor puts the arrays itself, so they outlive the process that made them."""
    ray.get(fetch.remote(tmp_path, actor), timeout=60)
    os.kill(builders(tmp_path)[0], signal.SIGKILL)
    time.sleep(0.5)
    assert ray.get(fetch.remote(tmp_path, actor), timeout=60)[0] == "hit"
    assert ray.get(actor.claim.remote(lease_of(tmp_path), 0.0), timeout=60)[0] == "value"


def test_without_its_actor_the_store_has_it_all(tmp_path: Path, actor: Any) -> None:
    assert ray.get(fetch.remote(tmp_path, actor), timeout=60)[0] == "built"
    gone = start_cache(f"gone-{time.monotonic_ns()}")
    ray.get(gone.board.remote(), timeout=60)
    ray.kill(gone)
    assert ray.get(fetch.remote(tmp_path, gone), timeout=60)[0] == "hit"
    other = tmp_path / "other"
    other.mkdir()
    assert ray.get(fetch.remote(other, gone), timeout=60)[0] == "built"
    assert len(builders(tmp_path)) == 1


@pytest.mark.thorough
def test_an_actor_that_dies_during_a_build_loses_nothing(tmp_path: Path, local_ray: None) -> None:
    dying = start_cache(f"dying-{time.monotonic_ns()}")
    pending = fetch.remote(tmp_path, dying, seconds=2)
    wait_for(lambda: builders(tmp_path))
    ray.kill(dying)
    assert ray.get(pending, timeout=60)[0] == "built"
    assert ray.get(fetch.remote(tmp_path, dying), timeout=60)[0] == "hit"
    assert len(builders(tmp_path)) == 1


def test_internal_artefacts_never_enter_the_actor(tmp_path: Path, actor: Any) -> None:
    assert ray.get(fetch.remote(tmp_path, actor, privacy="internal"), timeout=60)[0] == "built"
    answer, token = ray.get(actor.claim.remote(lease_of(tmp_path), 0.0), timeout=60)
    assert answer == "build"  # not "value"
    ray.get(actor.publish.remote(lease_of(tmp_path), token, "", None), timeout=60)
    assert ray.get(fetch.remote(tmp_path, actor, privacy="internal"), timeout=60)[0] == "hit"  # from the folder
    assert len(builders(tmp_path)) == 1


def test_a_build_that_fails_raises_and_gives_the_lease_back(tmp_path: Path, actor: Any) -> None:
    def fail() -> Built:
        raise RuntimeError("no luck")

    shared = SharedCache(store=FileStore(tmp_path), actor=actor)
    with pytest.raises(RuntimeError, match="no luck"):
        shared.fetch("kind", key_of(tmp_path), fail)
    start = time.monotonic()
    built, origin = shared.fetch("kind", key_of(tmp_path), lambda: Built(arrays={"x": np.ones(3)}, privacy="public"))
    assert origin == "built" and time.monotonic() - start < LEASE_SECONDS / 2
    assert built.arrays["x"].tolist() == [1, 1, 1]


def test_the_board_shows_running_trials_only(actor: Any) -> None:
    ray.get(actor.show.remote("t1", Progress(stage="pretrained", done=1, total=10)))
    ray.get(actor.show.remote("t2", Progress(stage="samples")))
    assert ray.get(actor.board.remote()) == {
        "t1": Progress(stage="pretrained", done=1, total=10),
        "t2": Progress(stage="samples"),
    }
    ray.get(actor.show.remote("t1", None))
    ray.get(actor.show.remote("never", None))
    assert list(ray.get(actor.board.remote())) == ["t2"]


def test_a_name_is_one_actor(actor: Any) -> None:
    same = start_cache(NAME)
    ray.get(same.show.remote("t3", Progress(stage="stage")))
    assert "t3" in ray.get(actor.board.remote())


# -- places that do not hold what building takes


def test_an_intention_is_waited_for_and_taken_over_by_who_can_build() -> None:
    state = CacheState()
    answer, intended = state.claim("a", now=0.0, able=False)
    assert answer == "build"
    assert state.claim("a", now=1.0, able=False) == ("wait", None)  # another that has nothing either
    assert state.renew("a", intended, now=LEASE_SECONDS - 1)
    answer, token = state.claim("a", now=LEASE_SECONDS + 1)
    assert answer == "build" and token != intended
    assert not state.renew("a", intended, now=LEASE_SECONDS + 1)
    assert state.claim("a", now=LEASE_SECONDS + 2) == ("wait", None)  # that one builds
    state.release("a", intended)
    assert state.claim("a", now=LEASE_SECONDS + 2) == ("wait", None)


DECLARED = Declaration(stages=(Stage(kind="kind", share="pretrain"),))


def never() -> Built:
    raise AssertionError("built")


def test_what_is_not_built_here_is_claimed_and_moves_the_trial(tmp_path: Path, actor: Any) -> None:
    """To where it is: the claim holds others off who hold nothing, until one builds who holds what it takes."""
    store, key = FileStore(tmp_path), key_of(tmp_path)
    driver = SharedCache(store=store, actor=actor, station=Station(DECLARED, shares=(), driver=True))
    with pytest.raises(Elsewhere) as to:
        driver.fetch("kind", key, never)
    assert to.value.share == "pretrain" and to.value.claim is not None
    wrong = SharedCache(store=store, actor=actor, station=Station(DECLARED, shares=("sample",)))
    with pytest.raises(Elsewhere) as leaves:
        wrong.fetch("kind", key, never)
    assert leaves.value.share is None and leaves.value.claim is None
    right = SharedCache(store=store, actor=actor, station=Station(DECLARED, shares=("pretrain",), gpu=True))
    _, origin = right.fetch("kind", key, lambda: Built(arrays={"x": np.zeros(1)}, privacy="public"))
    assert origin == "built"
    assert driver.fetch("kind", key, never)[1] == wrong.fetch("kind", key, never)[1] == "hit"


@pytest.mark.thorough
def test_a_gpu_is_not_held_for_long_while_another_builds(tmp_path: Path, actor: Any) -> None:
    store, key = FileStore(tmp_path), key_of(tmp_path)
    assert ray.get(actor.claim.remote(lease_of(tmp_path), 0.0))[0] == "build"
    holder = SharedCache(store=store, actor=actor, station=Station(DECLARED, shares=("pretrain",), gpu=True))
    began = time.monotonic()
    with pytest.raises(Elsewhere) as leaves:
        holder.fetch("kind", key, never)
    assert leaves.value.share is None and time.monotonic() - began < PATIENCE_SECONDS + 5


def test_a_dead_cache_builds_nothing_where_that_is_not_done(tmp_path: Path, local_ray: None) -> None:
    gone = start_cache("test-cache-gone")
    ray.kill(gone)
    station = Station(DECLARED, shares=(), driver=True)
    with pytest.raises(Elsewhere) as to:
        SharedCache(store=FileStore(tmp_path), actor=gone, station=station).fetch("kind", key_of(tmp_path), never)
    assert to.value.share == "pretrain"


def test_at_the_end_everything_is_computed_where_images_are_measured() -> None:
    station = Station(DECLARED, shares=("sample",))
    assert not station.has("kind")
    station.measure()
    assert station.has("kind")
    with pytest.raises(Elsewhere):
        Station(DECLARED, shares=("pretrain",)).measure()
