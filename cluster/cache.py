"""The shared cache: one actor that keeps artefacts in Ray's object store and gives out leases (single flight).

It is only a cache in front of the content-addressed Store. The actor itself puts the arrays, so they outlive the
worker that made them; readers on a node share one copy. If the actor dies, callers go on with the Store alone.

    claim(key) -> "value" + refs | "build" + token | "wait"     at most one live lease a key
    renew(key, token)                                           heartbeat of the builder
    publish(key, token, ...)                                    ends the lease; waiters are told

A lease may be an intention: its holder waits for the resources that building takes. Others without them wait for it;
who has them, and needs the artefact, builds at once, and the intention is void. So nobody waits for resources that are
held by somebody who waits for the artefact.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from privimage.errors import Damaged
from privimage.progress import Progress
from privimage.station import Elsewhere, Intention, Station
from privimage.stores.manifest import Manifest
from privimage.stores.store import Artefact, Built, Origin, Store

LEASE_SECONDS = 20.0  # a builder that was silent for so long is taken for dead
RENEW_SECONDS = 4.0
WAIT_SECONDS = 5.0  # for one answer of the actor
CACHE_BYTES = 2 * 2**30


@dataclass
class _Lease:
    token: int
    expires: float
    intended: bool


class CacheState:
    """The actor's bookkeeping, without Ray: who may build what, and which values are there. Least recently used go."""

    def __init__(self, *, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._leases: dict[str, _Lease] = {}
        self._values: OrderedDict[str, tuple[str, dict[str, Any], int]] = OrderedDict()
        self._tokens = itertools.count(1)

    def claim(self, key: str, *, now: float, able: bool = True) -> tuple[str, Any]:
        """("value", (manifest, refs)), ("build", token), or ("wait", None) while another's lease is alive.

        Who is not `able` to build here and now gets an intention, which one who is may take over.
        """
        if key in self._values:
            self._values.move_to_end(key)
            manifest, refs, _ = self._values[key]
            return "value", (manifest, refs)
        lease = self._leases.get(key)
        if lease is not None and lease.expires > now and not (able and lease.intended):
            return "wait", None
        self._leases[key] = _Lease(token=next(self._tokens), expires=now + LEASE_SECONDS, intended=not able)
        return "build", self._leases[key].token

    def renew(self, key: str, token: int, *, now: float) -> bool:
        """Whether the lease is still this holder's; if so it lives on."""
        lease = self._leases.get(key)
        if lease is None or lease.token != token:
            return False
        lease.expires = now + LEASE_SECONDS
        return True

    def release(self, key: str, token: int) -> None:
        """End the lease if it is still this holder's: the next claim may build."""
        lease = self._leases.get(key)
        if lease is not None and lease.token == token:
            del self._leases[key]

    def keep(self, key: str, manifest: str, refs: dict[str, Any], size: int) -> None:
        """Remember a value; forget the least recently used ones beyond the byte limit."""
        self._values[key] = (manifest, refs, size)
        self._values.move_to_end(key)
        while sum(entry[2] for entry in self._values.values()) > self._limit and len(self._values) > 1:
            self._values.popitem(last=False)


class CacheActor:
    """The actor: CacheState plus Ray's object store, and the board that shows which trial is at which stage."""

    def __init__(self) -> None:
        self._state = CacheState()
        self._changed = asyncio.Condition()
        self._board: dict[str, Progress] = {}

    async def claim(self, key: str, wait_seconds: float, able: bool = True) -> tuple[str, Any]:
        """As CacheState.claim; "wait" only after `wait_seconds` without news."""
        deadline = time.monotonic() + wait_seconds
        while True:
            answer = self._state.claim(key, now=time.monotonic(), able=able)
            left = deadline - time.monotonic()
            if answer[0] != "wait" or left <= 0:
                return answer
            async with self._changed:
                try:
                    await asyncio.wait_for(self._changed.wait(), timeout=left)
                except TimeoutError:
                    continue

    async def renew(self, key: str, token: int) -> bool:
        """As CacheState.renew."""
        return self._state.renew(key, token, now=time.monotonic())

    async def publish(self, key: str, token: int, manifest: str, arrays: Mapping[str, Any] | None) -> None:
        """End the lease; with arrays, put them into the object store for everyone (None: the build failed)."""
        if arrays is not None:
            refs = {name: ray.put(array) for name, array in arrays.items()}
            self._state.keep(key, manifest, refs, sum(array.nbytes for array in arrays.values()))
        self._state.release(key, token)
        async with self._changed:
            self._changed.notify_all()

    async def show(self, trial: str, now: Progress | None) -> None:
        """Write one line of the board; None takes the trial off it."""
        if now is not None:
            self._board[trial] = now
        else:
            self._board.pop(trial, None)

    async def board(self) -> dict[str, Progress]:
        """Running trials, and how far their stage is."""
        return dict(self._board)


def start_cache(name: str, *, near: str | None = None) -> Any:
    """A handle on the cache actor of that name, started on the head, or on a node with the custom resource `near`."""
    return (
        ray.remote(CacheActor)
        .options(
            name=name,
            namespace="privimage",
            get_if_exists=True,
            num_cpus=0,
            max_concurrency=1000,
            resources={near or "node:__internal_head__": 1e-3},
        )
        .remote()
    )


@contextmanager
def renewed(claim: Intention, actor: Any) -> Iterator[None]:
    """Keeps a lease alive meanwhile."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(RENEW_SECONDS):
            try:
                if not ray.get(actor.renew.remote(claim.name, claim.token), timeout=30):
                    return
            except RayError:
                return

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        stop.set()


class SharedCache:
    """The cache actor in front of a Store, with the Store's `fetch`.

    At a `station` that does not hold what building takes, what is to be built raises Elsewhere.
    """

    def __init__(self, *, store: Store, actor: Any, station: Station | None = None) -> None:
        self._store = store
        self._actor = actor
        self._station = station

    def fetch(self, kind: str, key: str, build: Callable[[], Built], *, paid: bool = False) -> tuple[Artefact, Origin]:
        """See Cache.fetch. Internal artefacts bypass the actor: they do not enter shared memory."""
        station, waited = self._station, False
        patience = None if station is None else station.patience(kind)
        able, wait = station is None or station.has(kind), WAIT_SECONDS if patience is None else patience
        while True:
            try:
                answer, payload = ray.get(self._actor.claim.remote(self._lease(kind, key), wait, able), timeout=60)
                if answer == "value":
                    return _read(*payload), "joined" if waited else "hit"
            except RayError:  # the actor or its objects are gone: the Store has it all
                return self._store.fetch(kind, key, build if able else _moving(station, kind, None), paid=paid)
            if answer == "build":
                claim = Intention(name=self._lease(kind, key), token=payload)
                return self._build(kind, key, claim, build if able else _moving(station, kind, claim), paid)
            if patience is not None:
                return self._there(kind, key), "hit"
            waited = True

    def _lease(self, kind: str, key: str) -> str:
        """The name of the lease: stores of one root that hold different things do not wait for each other."""
        return f"{self._store.root.name}/{kind}/{key}"

    def _build(
        self, kind: str, key: str, claim: Intention, build: Callable[[], Built], paid: bool
    ) -> tuple[Artefact, Origin]:
        artefact: Artefact | None = None
        held = False  # by the driver, from now on
        try:
            with renewed(claim, self._actor):
                artefact, origin = self._store.fetch(kind, key, build, paid=paid)
            return artefact, origin
        except Elsewhere as moved:
            held = moved.claim == claim
            raise
        finally:
            if not held:
                self._publish(claim, artefact)

    def _there(self, kind: str, key: str) -> Artefact:
        """The artefact, if another holds its lease just to read it. Raises Elsewhere if it is being built."""
        with suppress(Damaged):
            found = self._store.get(kind, key)
            if found is not None:
                return found
        raise Elsewhere(None)

    def _publish(self, claim: Intention, artefact: Artefact | None) -> None:
        shared = artefact is not None and artefact.manifest.privacy != "internal"
        manifest = artefact.manifest.model_dump_json() if artefact is not None else ""
        arrays = dict(artefact.arrays) if artefact is not None and shared else None
        with suppress(RayError):  # the artefact is in the Store; only the shortcut is lost
            ray.get(self._actor.publish.remote(claim.name, claim.token, manifest, arrays), timeout=60)


def _moving(station: Station | None, kind: str, claim: Intention | None) -> Callable[[], Built]:
    """In station of what builds: the trial moves to where that may be."""

    def move() -> Built:
        raise Elsewhere(None if station is None else station.share(kind), claim)

    return move


def _read(manifest: str, refs: dict[str, Any]) -> Artefact:
    values = ray.get(list(refs.values()))
    return Artefact(manifest=Manifest.model_validate_json(manifest), arrays=dict(zip(refs, values, strict=True)))
