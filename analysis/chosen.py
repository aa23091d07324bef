"""Chosen: which public images a trial was trained on that meet noisy means: the heaviest, and how their weight spreads.

All of it follows from noisy answers that were paid for, and from public images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privimage.analysis import details, page, pictures
from privimage.analysis.details import Parts
from privimage.analysis.facts import Facts
from privimage.analysis.page import Column
from privimage.analysis.pictures import Canvas, Samples
from privimage.errors import Damaged
from privimage.record import Record

KEPT = {"label", "weight", "shown", "examples", "shares"}
LEAST = 0.005  # of the weight of a label: a class with less is not named


@dataclass(frozen=True, kw_only=True)
class ChosenImages:
    """The public images that a trial was trained on, by place: the `label` [n] that each is for, and its `weight` [n].

    `shown` [k] are places of the heaviest of every label and `examples` [k, C, H, W] what they look like; `classes` are
    for every label the public classes with the largest `shares` of its weight. They were chosen among `pool` images.
    """

    record: Record
    public: str
    pool: int
    labels: tuple[str, ...]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]
    shown: NDArray[np.int64]
    examples: Canvas
    classes: tuple[tuple[str, ...], ...]
    shares: NDArray[np.float64]

    def effective(self, label: int | None = None) -> float:
        """So many images of equal weight would vary as much as these: 1 / sum w^2, of one label or of all."""
        w = self.weight if label is None else self.weight[self.label == label]
        return float(w.sum() ** 2 / np.square(w).sum())

    def described(self, row: int) -> str:
        """The public classes of a label with their shares of its weight."""
        pairs = zip(self.classes[row], self.shares[row], strict=True)
        return ", ".join(f"{name} ({share:.0%})" for name, share in pairs if share >= LEAST)

    def strips(self) -> list[tuple[str, bytes]]:
        """For the first labels: the name, and the heaviest images side by side as a PNG."""
        of = self.label[self.shown]
        rows = [(name, self.examples[of == y]) for y, name in enumerate(self.labels[: pictures.ROWS])]
        return [
            (name, pictures.enlarged(Samples(x=x, y=np.zeros(len(x), np.int64)), columns=len(x))) for name, x in rows
        ]


def chosen_of(found: Facts) -> ChosenImages | None:
    """What the best private trial of the search was trained on, or of all where the search chose none."""
    having = [r for r in found.records if r.private and "tilted" in r.artefacts]
    record = found.best_of([r for r in having if r.role == "search"] or having)
    if record is None:
        return None
    try:
        artefact = found.store.get("tilted", record.artefacts["tilted"])
    except Damaged:
        return None
    if artefact is None or artefact.manifest.privacy == "internal" or not artefact.arrays.keys() >= KEPT:
        return None
    meta, arrays = artefact.manifest.meta, artefact.arrays
    return ChosenImages(
        record=record, public=str(meta["public"]), pool=int(meta["pool"]), labels=tuple(meta["labels"]),
        label=arrays["label"], weight=arrays["weight"], shown=arrays["shown"], examples=arrays["examples"],
        classes=tuple(map(tuple, meta["selected"])), shares=arrays["shares"],
    )  # fmt: skip


def section(found: Facts) -> Parts:
    """Which public images stand for which label."""
    of = chosen_of(found)
    if of is None:
        return []
    columns = [
        Column(title="label"), Column(title="effective images", number=True),
        Column(title="public classes, with their shares of the weight"),
    ]  # fmt: skip
    rows = [[name, f"{of.effective(y):,.0f}", of.described(y)] for y, name in enumerate(of.labels)]
    note = (
        f"The public images on which {of.record.method}, trial {details.short(of.record)}, was trained, weighted so "
        "that their mean features meet the noisy mean of every label. The weights follow from noisy answers alone, "
        f"which are paid for. Of {of.pool:,} images, variations counted, they leave an effective number of "
        f"{of.effective():,.0f} over all labels: as many of equal weight would vary as much."
    )
    licence = (
        f"The images of the public set {of.public} that weigh most for each label, the heaviest first; to pass them "
        "on, keep to the licence of that set."
    )
    strips = [
        page.figure(png, title=name, alt=f"The public images that weigh most for {name}") for name, png in of.strips()
    ]
    return [
        page.paragraph(note), page.table("What was chosen for every label", columns, rows),
        page.paragraph(licence, kind="soft"), page.figures(strips),
    ]  # fmt: skip
