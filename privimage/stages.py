"""Stages: what a method sees of the world it runs in. Every stage goes through the cache, on all workers together."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from privimage.checkpoint import Checkpoint
from privimage.errors import LostAnswer, Violation
from privimage.finite import DIVERGED, diverged, is_finite
from privimage.paths import CopyFolder
from privimage.privacy.accounting.costs import Cost
from privimage.privacy.covered import CoveredLedger
from privimage.privacy.entropy import Entropy
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look, Seen
from privimage.privacy.receipt import Receipt
from privimage.progress import Progress, Tell
from privimage.reconcile import refusal
from privimage.record import Paid, StageRecord
from privimage.schema import digest
from privimage.station import NOTHING, Behind
from privimage.stores.store import Artefact, Built, Cache, Store
from privimage.workers import Workers


class Stages:
    """Runs the stages of one trial: looks in the cache, builds on all workers, charges the ledger, keeps the times."""

    def __init__(
        self,
        *,
        workers: Workers,
        store: Store,
        cache: Cache,
        ledger: Ledger | CoveredLedger,
        progress: Callable[[Progress], None] = lambda now: None,
        behind: Behind = NOTHING,
    ) -> None:
        self.workers = workers
        self.store = store
        self.ledger = ledger
        self._cache = cache
        self._progress = progress
        self.records: list[StageRecord] = []
        self.behind = behind
        self.paid: dict[str, Paid] = {}
        self._receipts: dict[str, Receipt] = {}  # of the private stages so far
        self.artefacts: dict[str, str] = {}

    def public(self, kind: str, inputs: dict[str, Any], build: Callable[[Tell], Built]) -> Artefact:
        """The artefact of a stage that touches no sensitive data; `build` gets a progress callback."""
        key = digest({"kind": kind, **inputs})
        artefact = self._run(kind, key, lambda: build(self._reporter(kind)))
        if self.workers.first:
            self.store.forget(f"{kind}-{key}")
        return artefact

    def alone(self, kind: str, inputs: dict[str, Any], build: Callable[[Tell], Built]) -> Artefact:
        """As `public`, for the first worker only: the others take no part (metrics and their references)."""
        if not self.workers.first:
            raise Violation(f"stage {kind}: only the first worker computes it")
        key = digest({"kind": kind, **inputs})
        return self._timed(kind, key, lambda: self._found(kind, key, lambda: build(self._reporter(kind))))

    def look(self, look: Look, *, alone: bool = False) -> Seen:
        """The proof that a look without noise stands in the ledger. With `alone` for the first worker only."""
        return self.ledger.look(look) if alone else self.workers.of_first(lambda: self.ledger.look(look))

    def unnoised(
        self,
        kind: str,
        inputs: dict[str, Any],
        *,
        look: Look,
        build: Callable[[Entropy, Tell, Seen], Built],
    ) -> Artefact:
        """The artefact of a use of sensitive data without noise. The look is written first, also where it is a hit.

        It has no price, so `build` may be called again if the artefact is gone; its entropy draws batches only.
        """
        key = digest({"kind": kind, **inputs})
        seen, name = self.look(look), f"{kind}-{key}"
        artefact = self._run(
            kind,
            key,
            lambda: build(self.workers.of_first(lambda: self.store.entropy(name)), self._reporter(kind), seen),
        )
        if self.workers.first:
            self.store.forget(name)
        return artefact

    def private(
        self,
        kind: str,
        inputs: dict[str, Any],
        *,
        what: str,
        events: Sequence[Cost],
        build: Callable[[Entropy, Tell], Built],
        alone: bool = False,
    ) -> Artefact:
        """The artefact of an access to sensitive data, charged before `build(entropy, progress)` touches it.

        With `alone` for the first worker only, as in the method of that name.

        Its entropy is kept on disk first. So a killed access is finished with the same noise and is not charged
        again, and an answer that was paid for is never asked again: if it is gone, LostAnswer is raised. An answer
        that is there, but whose charge is not in the ledger, is Unpaid. One that is not finite is remembered as such,
        and is Diverged at this and every later call.
        """
        key = digest({"kind": kind, **inputs})
        name = f"{kind}-{key}"
        own = self.ledger.receipt(id=key, what=what, events=events)
        self._receipts[key] = own

        charged = partial(self._charged, kind, key, what=what, events=events)

        def charged_build() -> Built:
            entropy = charged() if alone else self.workers.of_first(charged)
            return _of_use(build(entropy, self._reporter(kind)))

        if alone:
            artefact = self._timed(kind, key, lambda: self._found(kind, key, charged_build, own))
        else:
            artefact = self._run(kind, key, charged_build, own)
        if self.workers.first:
            self.store.forget(name)
        self.paid[key] = Paid(id=key, what=what, events=tuple(events))
        if artefact.manifest.meta.get(DIVERGED):
            raise diverged(kind)
        return artefact

    def _charged(self, kind: str, key: str, *, what: str, events: Sequence[Cost]) -> Entropy:
        """The entropy of an access, which is kept on disk before the access is charged."""
        name = f"{kind}-{key}"
        if self.ledger.charged(key) and not self.store.has_entropy(name):
            raise LostAnswer(
                f"{self.store.folder(kind, key)}: paid for in {self.ledger.path} but missing; restore it from "
                "a backup of the store; it is never asked again"
            )
        entropy = self.store.entropy(name)
        self.ledger.charge(id=key, what=what, events=events, noise=entropy.mark)
        return entropy

    def checkpoint(self, kind: str, inputs: dict[str, Any], *, entropy: Entropy | None = None) -> Checkpoint:
        """Where the `build` of that stage keeps how far it has come; `entropy` is what a private one was given."""
        name = f"{kind}-{digest({'kind': kind, **inputs})}"
        return Checkpoint(store=self.store, name=name, entropy=entropy, workers=self.workers)

    def _reporter(self, stage: str) -> Tell:
        last = 0.0

        def report(done: int, total: int) -> None:
            nonlocal last
            if self.workers.first and (done == total or time.monotonic() - last > 0.5):
                last = time.monotonic()
                self._progress(Progress(stage=stage, done=done, total=total))

        return report

    def _found(
        self, kind: str, key: str, build: Callable[[], Built], own: Receipt | None = None
    ) -> tuple[Artefact, Any]:
        """As Cache.fetch. What is built keeps the receipts of what was paid for it; what is found must be paid for.

        `own` is the receipt of a private stage. Raises Unpaid.
        """

        def receipted() -> Built:
            built = build()
            if not is_finite(built.arrays):
                raise diverged(kind)
            derived = own is not None or built.events
            return replace(built, receipts=tuple(self._receipts.values())) if derived else built

        artefact, origin = self._cache.fetch(kind, key, receipted, paid=own is not None)
        for receipt in dict.fromkeys((*artefact.manifest.receipts, *((own,) if own is not None else ()))):
            if not self.ledger.holds(receipt):
                raise refusal(self.ledger.outer, receipt.charge, where=self.store.folder(kind, key))
        return artefact, origin

    def _run(self, kind: str, key: str, build: Callable[[], Built], own: Receipt | None = None) -> Artefact:
        return self._timed(kind, key, lambda: self._fetch(kind, key, build, own))

    def _timed(self, kind: str, key: str, fetch: Callable[[], tuple[Artefact, Any]]) -> Artefact:
        if self.workers.first:
            self._progress(Progress(stage=kind))
        _reset_peak()
        start = time.perf_counter()
        artefact, origin = fetch()
        seconds, before = time.perf_counter() - start, self.behind.stages[len(self.records) :][:1]
        if not before or before[0].name != kind:  # else what is found here now was made for this trial before it moved
            before = (StageRecord(name=kind, origin=origin, seconds=seconds, peak_mib=_peak_mib()),)
        self.records += before
        self.artefacts[kind] = key
        return artefact

    def _fetch(self, kind: str, key: str, build: Callable[[], Built], own: Receipt | None) -> tuple[Artefact, Any]:
        """As `_found`, on every worker: the first one asks the cache, all build if it has to be built.

        An error of the first one around the build is raised by all. Inside it all raise what `of_first` raises; any
        other error there ends its process, which breaks the connections that the others wait on.
        """
        workers, building = self.workers, False
        if workers.size == 1:
            return self._found(kind, key, build, own)
        if not workers.first:
            message: Any = workers.broadcast(None)
            if message == "build":
                build()
                message = workers.broadcast(None)
            return message  # type: ignore[no-any-return]

        def together() -> Built:
            nonlocal building
            workers.broadcast("build")
            building = True
            built = build()
            building = False
            return built

        try:
            answer = self._found(kind, key, together, own)
        except Exception as error:
            if not building:
                workers.fail(error)
            raise
        return workers.broadcast(answer)


def _of_use(built: Built) -> Built:
    """The same; or, where it is not finite, that it was paid for, so that it is neither asked nor computed again."""
    if is_finite(built.arrays):
        return built
    return replace(built, arrays={}, meta={**(built.meta or {}), DIVERGED: True})


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak resident size starts anew
    except OSError:
        return


def _peak_mib() -> float:
    """Peak memory of this process since `_reset_peak` (of the GPU where there is one), MiB."""
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else peak_resident_mib()


def peak_resident_mib() -> float:
    """Peak memory of this process, MiB.

    Without what it shares with others: the pages that it has looked at of Ray's object store, and of decoded images,
    which are the system's to take back.
    """
    try:
        kib = dict(line.split()[:2] for line in Path("/proc/self/status").read_text().splitlines() if "kB" in line)
        return (int(kib["VmHWM:"]) - int(kib["RssShmem:"]) - _mapped_kib()) / 1024
    except (OSError, KeyError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _mapped_kib() -> int:
    """Pages of decoded images (see CopyFolder) that are counted as memory of this process, KiB."""
    if f"/{CopyFolder.IMAGES}\n" not in Path("/proc/self/maps").read_text(errors="replace"):
        return 0  # to read the pages of every mapping takes far longer
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text(errors="replace").splitlines():
        if line[:1].islower() or line[:1].isdigit():  # a mapping: addresses in hex, its file last
            ours = line.endswith(f"/{CopyFolder.IMAGES}")
        elif ours and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found
