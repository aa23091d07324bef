"""Station: with which share of a sweep's resources a process may compute, and how a trial moves to where another is.

A trial whose stages take different resources is walked through by its driver, which holds next to nothing: what was
made before is found, and what another trial is making is waited for. A stage that is to be computed raises Elsewhere;
a process that holds what it takes walks up to that stage, where everything before it is found, computes it, and goes on
for as long as what it holds is right.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from privimage.errors import PrivImageError
from privimage.methods.declared import Declaration, ShareName
from privimage.record import StageRecord

PATIENCE_SECONDS = 5.0  # that a GPU is held for what another trial is computing


@dataclass(frozen=True, kw_only=True)
class Intention:
    """That this trial will compute an artefact, as soon as it holds what that takes: see CacheState."""

    name: str
    token: int


class Elsewhere(PrivImageError):
    """The trial goes on in another process: one that holds `share`, or, where that is None, one that holds nothing.

    Raised before a stage is computed, so before it is charged. No user meets it.
    """

    def __init__(self, share: ShareName | None, claim: Intention | None = None) -> None:
        super().__init__(share, claim)
        self.share, self.claim = share, claim


@dataclass(frozen=True, kw_only=True)
class Behind:
    """What is behind a trial that goes on in another process: when it began, its seconds at work, its stages."""

    started: datetime | None = None
    seconds: float = 0.0
    stages: tuple[StageRecord, ...] = ()


NOTHING = Behind()


class Station:
    """Where a trial of that declaration is: in a process that may compute with `shares`.

    A `driver` waits for what others compute as long as it takes; else who holds a GPU leaves after PATIENCE_SECONDS.
    """

    def __init__(
        self, declaration: Declaration, *, shares: Collection[ShareName], driver: bool = False, gpu: bool = False
    ) -> None:
        self._declaration, self._shares, self._driver, self._gpu = declaration, frozenset(shares), driver, gpu
        self._measuring = False

    def has(self, kind: str) -> bool:
        """Whether a stage of that kind may be computed here. At the end all may that are still needed."""
        return self._measuring or self._declaration.share(kind) in self._shares

    def patience(self, kind: str) -> float | None:
        """For how many seconds a process waits here for what another computes; None: as long as it takes.

        Whoever waits without end can compute it here, should the other give up, or holds nothing: nobody waits for
        resources that somebody holds who waits.
        """
        if self._driver or (self.has(kind) and not self._gpu):
            return None
        return PATIENCE_SECONDS if self.has(kind) else 0.0

    def share(self, kind: str) -> ShareName:
        """With which share a stage of that kind is computed."""
        return self._declaration.share(kind)

    def measure(self) -> None:
        """Called before the images are measured. Raises Elsewhere if that is not done here."""
        if "sample" not in self._shares:
            raise Elsewhere("sample")
        self._measuring = True
