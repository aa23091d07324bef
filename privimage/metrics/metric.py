"""Metrics: a number about synthetic images, with what it touched, and the families that such numbers come from.

A file of this folder, or an installed package, brings one family (see `privimage.doors`). The name of a metric is that
of its family, with a variant in brackets where it has variants: fid[inception].
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from privimage.doors import Door
from privimage.errors import InputError
from privimage.privacy.budget import Event, Release
from privimage.privacy.looks import Look, Part
from privimage.schema import Frozen

if TYPE_CHECKING:
    from privimage.metrics.context import MetricContext

Touch = Literal["synthetic", "public", "private-train", "private-validation", "private-test"]
Direction = Literal["min", "max"]


class Metric(Frozen):
    """One score of `n` synthetic images. Not private when it touches private data without noise: show that beside it.

    `event` is the access that a noisy score was paid with. `of` is how many real images it was computed against, with
    how many `classes`. A `share` is the part of these that was answered right; `largest` then is the share of the
    largest class among them, which a constant answer reaches (read from the same labels, without noise, in the same
    look).
    """

    name: str
    value: float
    touches: tuple[Touch, ...] = Field(min_length=1)
    direction: Direction
    n: int = Field(ge=1)
    seconds: float = Field(default=0, ge=0)
    event: Event | None = None
    share: bool = False
    of: int | None = Field(default=None, ge=1)
    classes: int | None = Field(default=None, ge=1)
    largest: float | None = Field(default=None, ge=0, le=1)

    @property
    def non_private(self) -> bool:
        """Whether the value depends on private data outside every privacy account."""
        return self.event is None and any(touch.startswith("private-") for touch in self.touches)


class Family(ABC):
    """One family of metrics: what its file says of it, and how it measures. It has no state.

    `what` says in a few words what the value is. `reads` are the splits of the sensitive set that it needs: it can read
    no other. They are read without noise, and a line in the ledger says so (a look), unless the family is `noisy`: then
    it is one count on the validation split, charged as one event, and may decide a private selection. It needs `least`
    images a side, and of the synthetic ones it takes the first `most`.
    """

    what: ClassVar[str]
    direction: ClassVar[Direction]
    variants: ClassVar[tuple[str, ...]] = ()  # none: the name stands alone
    reads: ClassVar[tuple[Part, ...]] = ()
    noisy: ClassVar[bool] = False
    share: ClassVar[bool] = False  # of real images that were answered right
    least: ClassVar[int] = 2
    most: ClassVar[int | None] = None  # all

    @abstractmethod
    def measure(self, variant: str, context: MetricContext) -> float | Release[float]:
        """The value; of a noisy family the release that `context.event` noised. Raises InputError for bad images."""

    def check(self, variant: str, *, weights: Path | None) -> None:  # noqa: B027 - most need nothing
        """Raise InputError if something that it needs is missing. `weights`: see Features."""

    def steady(self, variant: str) -> bool:
        """Whether its time does not grow with the number of synthetic images."""
        return False


def _refuses(member: object) -> str | None:
    if not isinstance(member, Family):
        return f"an instance of privimage.metrics.Family is needed, got {member!r:.60}"
    if not getattr(member, "what", None) or getattr(member, "direction", None) not in ("min", "max"):
        return "it has to say `what` it is, and a `direction`: min or max"
    if member.noisy and member.reads != ("validation",):
        return f"a noisy score reads the validation split, got {', '.join(member.reads)}"
    return None


METRICS: Door[Family] = Door(kind="metric", folder="metrics", refuses=_refuses)


def family_of(name: str) -> tuple[Family, str]:
    """The family and the variant in a metric's name. Raises InputError for an unknown name, with the nearest.

    >>> family_of("fid[inception]")[1], family_of("accuracy[cnn]")[0].direction
    ('inception', 'max')
    >>> family_of("accuracy[cn]")
    Traceback (most recent call last):
    ...
    privimage.errors.InputError: metric 'accuracy[cn]': unknown, did you mean 'accuracy[cnn]'?
    """
    head, _, rest = name.partition("[")
    if head in METRICS.names():
        family, variant = METRICS.load(head), rest.removesuffix("]")
        if name in _named(head, family):
            return family, variant
    known = tuple(names())
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"
    raise InputError(f"metric '{name}': unknown{hint}")


def _named(head: str, family: Family) -> tuple[str, ...]:
    return tuple(f"{head}[{variant}]" for variant in family.variants) or (head,)


def names(*, noisy: bool | None = None) -> Iterator[str]:
    """The names of all metrics, or of those that are noisy, or not. A member that cannot be loaded is left out."""
    for head in METRICS.names():
        try:
            family = METRICS.load(head)
        except InputError:
            continue
        if noisy is None or family.noisy == noisy:
            yield from _named(head, family)


def direction_of(name: str) -> Direction:
    """Whether a smaller ("min") or a larger ("max") value of the named metric is better.

    >>> direction_of("fid[inception]"), direction_of("accuracy[cnn]")
    ('min', 'max')
    """
    return family_of(name)[0].direction


def is_private(name: str) -> bool:
    """Whether the named metric is a noisy score that is charged, and so may decide a private selection.

    >>> is_private("dp-accuracy[cnn]"), is_private("fid[inception]")
    (True, False)
    """
    return family_of(name)[0].noisy


def looks_of(metric: str) -> tuple[Look, ...]:
    """What the named metric reads without noise: nothing if it is a noisy score."""
    family, _ = family_of(metric)
    return () if family.noisy else tuple(Look(split=split, what=metric) for split in family.reads)
