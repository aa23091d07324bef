"""Nearest: how near the images of a trial are to the public images of their labels, as a report and a card say it.

Internal artefacts (no guarantee) are never read. Of trials that were made before this was kept, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from privimage.analysis import details, page, pictures, words
from privimage.analysis.details import Parts
from privimage.analysis.facts import Facts
from privimage.analysis.page import Column
from privimage.analysis.pictures import Canvas, Samples
from privimage.errors import Damaged
from privimage.record import Record
from privimage.stores.store import Store

CELL, LINE = 56, 22  # pixels of an image at least, and of the line with its distance
MARK = "*"  # behind the distance to an image that was chosen for other labels only
RED = "#9a3b00"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Synthetic images of one label, each with the nearest public image: [n, C, H, W] both."""

    label: str
    x: Canvas
    nearest: Canvas
    distance: NDArray[np.float64]
    other: NDArray[np.bool_]

    @property
    def distances(self) -> list[str]:
        """How far each is, with a mark where the public image was chosen for other labels only."""
        return [f"{d:.2f}{MARK * bool(other)}" for d, other in zip(self.distance, self.other, strict=True)]

    def picture(self) -> Canvas:
        """The images side by side, below each the nearest public one and how far it is: uint8 [H, W, 3]."""
        both = Samples(x=np.concatenate([self.x, self.nearest]), y=np.repeat([0, 1], len(self.x)))
        scale = max(1, CELL // self.x.shape[2])
        grid = pictures.grid(both, columns=len(self.x), scale=scale)
        whole = Image.new("RGB", (grid.shape[1], grid.shape[0] + LINE), "white")
        whole.paste(Image.fromarray(grid))
        draw, font = ImageDraw.Draw(whole), ImageFont.load_default(size=18)
        step = (self.x.shape[3] + pictures.GAP) * scale
        for column, (said, other) in enumerate(zip(self.distances, self.other, strict=True)):
            at = (column * step + step // 2, grid.shape[0] + LINE // 2)
            draw.text(at, said, fill=RED if other else "black", font=font, anchor="mm")
        return np.asarray(whole)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """How near the images of a trial are: over `n` of them the median distance, and the `share` of another label.

    Distances are root mean square differences of pixels in [0, 1]. `scale` is the median distance of the public images
    to the nearest other one; None where there is no other.
    """

    record: Record
    public: str
    n: int
    distance: float
    share: float
    scale: float | None
    pairs: tuple[Pairs, ...]

    def sentences(self) -> list[str]:
        """What the images have from public ones, and how near they are."""
        scale = (
            f"; all that training saw of public images is {self.scale:.3f} from the nearest other one"
            if self.scale
            else ""
        )
        return [
            f"{self._made()} Over {words.count(self.n, 'image')}, the median distance to the nearest of those public "
            f"images is {self.distance:.3f}{scale} (the root mean square difference of pixels between 0 and 1).",
            f"For {words.share(self.share) if self.share else 'none'} of them the nearest public image was chosen for "
            "another label.",
        ]

    def _made(self) -> str:
        if self.record.sampling.get("start") == "anchors":
            level = words.number(self.record.sampling.get("start_at"))
            return (
                f"Each image started from an image of the public set {self.public}, changed by noise of level {level} "
                "and denoised: it is a variation of it."
            )
        return f"The generator was trained on images of the public set {self.public} that were chosen for each label."


def of_record(store: Store, record: Record) -> Nearest | None:
    """What is known of a record; None if nothing is, or if it is internal."""
    samples, key = pictures.samples_of(store, record), record.artefacts.get("nearest")
    try:
        artefact = store.get("nearest", key) if key is not None else None
    except Damaged:
        return None
    if artefact is None or samples is None or artefact.manifest.privacy == "internal":
        return None
    arrays = artefact.arrays
    counted, shown, scale = arrays["counted"], arrays["shown"], arrays["scale"]
    at, distance, other = (arrays[name][shown] for name in ("sample", "distance", "other"))
    rows = ((label, samples.y[at] == label) for label in np.unique(samples.y[at]))
    return Nearest(
        record=record, public=str(artefact.manifest.meta["public"]), n=int(counted.sum()),
        distance=float(np.median(arrays["distance"][counted])), share=float(arrays["other"][counted].mean()),
        scale=float(np.median(scale)) if len(scale) else None,
        pairs=tuple(
            Pairs(
                label=samples.classes[label], x=samples.x[at[here]], nearest=arrays["nearest"][here],
                distance=distance[here], other=other[here],
            )
            for label, here in rows
        ),
    )  # fmt: skip


def section(found: Facts, panels: Iterable[pictures.Panel]) -> Parts:
    """The numbers of every trial whose images are shown, and pairs of images of the best one of the search."""
    known = [near for panel in panels if (near := of_record(found.store, panel.record)) is not None]
    if not known:
        return []
    best = found.best_of([near.record for near in known if near.record.role == "search"])
    main = next((near for near in known if best is not None and near.record.id == best.id), known[0])
    return [
        page.paragraph(f"{main.record.method}, trial {details.short(main.record)}. {' '.join(main.sentences())}"),
        page.paragraph(MEANING, kind="soft"), _table(known), page.figures([_figure(pairs) for pairs in main.pairs]),
        page.paragraph(LICENCE.format(main.public), kind="soft"),
    ]  # fmt: skip


CAPTION = (
    "The median distance to the nearest public image, that of public images to the nearest other one, and for how many "
    "images the nearest was chosen for another label"
)
MEANING = (
    "A distance well below that of the public images from each other says that an image repeats a public one. One like "
    "it or above proves nothing: a copy moved by a pixel is as far. Sensitive images play no part in any of this."
)
LICENCE = (
    "Above the images of that trial, below each the nearest image of the public set {}, with the distance; "
    f"{MARK} where that was chosen for other labels only. To pass public images on, keep to the licence of that set."
)


def _figure(pairs: Pairs) -> str:
    alt = f"Images of {pairs.label}, and below each the nearest public image, at {words.listed(pairs.distances)}"
    return page.figure(pictures.png(pairs.picture()), title=pairs.label, alt=alt)


def _table(known: Iterable[Nearest]) -> str:
    columns = [
        Column(title="method"), Column(title="trial"), Column(title="drawn from"),
        Column(title="distance", number=True), Column(title="among public images", number=True),
        Column(title="another label", number=True),
    ]  # fmt: skip
    rows = [
        [
            near.record.method, details.short(near.record),
            "public images" if near.record.sampling.get("start") == "anchors" else "noise",
            f"{near.distance:.3f}", "–" if near.scale is None else f"{near.scale:.3f}", words.share(near.share),
        ]
        for near in known
    ]  # fmt: skip
    return page.table(CAPTION, columns, rows)
