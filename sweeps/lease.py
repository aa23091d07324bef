"""Lease: which machine drives a run of a root that is a bucket. What a file lock is to one machine.

An object of the run names the driver and is replaced every BEAT seconds, always in the version that was read last. A
second driver watches it: if it changes, the first is alive, and the second is refused; if it does not for LAPSE
seconds, the first is taken for dead. So no two clocks are compared. A driver that was taken for dead and is not finds
at its next beat that the lease is another's, and stops. What it wrote meanwhile harms nothing: charges and answers are
put only where none are, under names that follow from what they are.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from privimage.bucket import Blob, Bucket, conditions_hold
from privimage.errors import InputError
from privimage.mirror import Mirror, mirror_of
from privimage.pull import LEASE, pull
from privimage.schema import Frozen
from privimage.sweeps.interrupt import ask_to_stop

BEAT = 5.0
LAPSE = 30.0  # seconds without a beat after which a driver is taken for dead
LOOK = 0.5


class Holder(Frozen):
    """Who drives: by a name that nobody else has; on which machine, which process, since when; the how manieth driver
    of the run; how often it said so.
    """

    driver: str
    host: str
    process: int
    since: str
    number: int
    beat: int = 0
    ended: bool = False


@contextmanager
def leased(run: Path) -> Iterator[None]:
    """Hold the lease of a run while this lasts; nothing where the root is no bucket.

    Meanwhile the working folder is told every BEAT seconds what other nodes wrote. Raises InputError, naming the host
    and since when, if another machine drives the run. Where the lease is lost, this process is asked to stop.
    """
    mirror = mirror_of(run)
    if mirror is None:
        yield
        return
    lease = Lease(mirror, run)
    lease.take()
    ended = threading.Event()
    beating = threading.Thread(target=lease.beat_until, args=(ended,), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with suppress(InputError):  # then it lapses
            lease.end()


class Lease:
    """The lease of the folder `run` in the bucket of its root."""

    def __init__(self, mirror: Mirror, run: Path) -> None:
        self._bucket: Bucket = mirror.bucket
        self._run, self._name = run, f"{mirror.name(run)}/{LEASE}"
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._own = Holder(
            driver=secrets.token_hex(16), host=socket.gethostname(), process=os.getpid(), since=since, number=1
        )

    def take(self) -> None:
        """Take it, once whoever holds it has ended or is taken for dead. Raises InputError if another is alive."""
        conditions_hold(self._bucket.url)
        while True:
            found = self._bucket.get(self._name)
            if found is not None:
                before = self._parsed(found)
                if not before.ended:
                    self._watch(found, before)
                self._own = self._own.model_copy(update={"number": before.number + 1})
            if self._bucket.swap(self._name, self._raw(), before=found) or self._mine():
                return

    def _watch(self, found: Blob, before: Holder) -> None:
        """Wait until the holder is taken for dead. Raises InputError when it is seen to be alive."""
        deadline = time.monotonic() + LAPSE
        while time.monotonic() < deadline:
            time.sleep(LOOK)
            now = self._bucket.get(self._name)
            if now is None or now == found:
                continue
            holder = self._parsed(now)
            if not holder.ended:
                raise InputError(
                    f"{self._bucket.url}/{self._name.removesuffix('/' + LEASE)}: process {holder.process} on "
                    f"{holder.host} drives this sweep since {holder.since}; wait for it or stop it (a driver that was "
                    f"killed is taken for dead after {LAPSE:.0f} s)"
                )
            return

    def beat_until(self, ended: threading.Event) -> None:
        """Say every BEAT seconds that this driver is alive, until `ended` is set or the lease is another's."""
        while not ended.wait(BEAT):
            try:
                held = self._beat()
                if held:
                    pull(self._run, lines_only=True)
            except InputError as error:
                held = False
                print(f"privimage: {error}", file=sys.stderr)
            if not held:
                print("privimage: the lease of this sweep is lost; run the same command again", file=sys.stderr)
                ask_to_stop()
                return

    def _beat(self) -> bool:
        found = self._bucket.get(self._name)
        if found is None or not self._is_own(self._parsed(found)):
            return False
        self._own = self._own.model_copy(update={"beat": self._own.beat + 1})
        return self._bucket.swap(self._name, self._raw(), before=found) or self._mine()

    def end(self) -> None:
        """Say that this driver has ended, if the lease is still its own."""
        found = self._bucket.get(self._name)
        if found is not None and self._is_own(self._parsed(found)):
            self._own = self._own.model_copy(update={"ended": True})
            self._bucket.swap(self._name, self._raw(), before=found)

    def _mine(self) -> bool:
        """Whether it is held by this driver after all: the server may have failed on the way to say so."""
        found = self._bucket.get(self._name)
        return found is not None and self._is_own(self._parsed(found))

    def _is_own(self, holder: Holder) -> bool:
        return holder.driver == self._own.driver

    def _raw(self) -> bytes:
        return self._own.model_dump_json().encode()

    def _parsed(self, found: Blob) -> Holder:
        try:
            return Holder.model_validate_json(found.raw)
        except ValueError:
            raise InputError(
                f"{self._bucket.url}/{self._name}: damaged; remove it if no driver runs this sweep"
            ) from None
