"""Pictures: grids of synthetic images, a row a label with its name, and strips of the selected public classes.

Internal artefacts (no guarantee) are never drawn.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from privimage.analysis import pareto, words
from privimage.analysis.facts import Facts
from privimage.errors import Damaged
from privimage.record import Record
from privimage.stores.store import Store

Canvas = NDArray[np.uint8]
GAP = 1  # white pixels between images
ROWS = 20  # labels that a grid shows
LONGEST = 14  # characters of a label's name


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Synthetic images uint8 [n, C, H, W] with labels, and the names of all labels, which the samples of a run keep."""

    x: Canvas
    y: NDArray[Any]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One grid with the title that stands above it."""

    title: str
    record: Record
    samples: Samples


def samples_of(store: Store, record: Record) -> Samples | None:
    """The synthetic images of a record; None if none are stored intact or they are internal (made without privacy)."""
    key = record.artefacts.get("samples")
    try:
        artefact = store.get("samples", key) if key is not None else None
    except Damaged:
        return None
    if artefact is None or not record.private or artefact.manifest.privacy == "internal":
        return None
    names = artefact.manifest.meta.get("classes") or range(int(artefact.arrays["y"].max()) + 1)
    classes = tuple(map(str, names))  # of a method that does not say them: their numbers
    return Samples(x=artefact.arrays["x"], y=artefact.arrays["y"], classes=classes)


def grid(samples: Samples, *, columns: int = 10, rows: int | None = 20, scale: int = 1) -> Canvas:
    """One picture uint8 [H, W, 3]: a row a label (the first `rows`), its first `columns` images, white where none."""
    labels = np.unique(samples.y)[:rows]
    _, channels, height, width = samples.x.shape
    picture = np.full(
        (len(labels) * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, dtype=np.uint8
    )
    for row, label in enumerate(labels):
        for column, image in enumerate(samples.x[samples.y == label][:columns]):
            top, left = row * (height + GAP), column * (width + GAP)
            picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    colour = np.repeat(picture, 3, axis=2) if channels == 1 else picture[:, :, :3]
    return colour.repeat(scale, axis=0).repeat(scale, axis=1)


def named(picture: Canvas, names: Sequence[str], *, height: int) -> Canvas:
    """The grid [H, W, 3] with the names of its rows, of `height` pixels each, in a white margin on the left."""
    font = ImageFont.load_default(size=max(11, min(18, height // 3)))
    short = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "." for name in names]
    margin = 8 + int(max((font.getlength(name) for name in short), default=0))
    whole = Image.new("RGB", (picture.shape[1] + margin, picture.shape[0]), "white")
    whole.paste(Image.fromarray(picture), (margin, 0))
    draw = ImageDraw.Draw(whole)
    for row, name in enumerate(short):
        draw.text((margin - 6, row * height + height // 2), name, fill="black", font=font, anchor="rm")
    return np.asarray(whole)


def png(picture: Canvas, *, stated: str | None = None) -> bytes:
    """The picture as a PNG file; what is stated of it travels inside, as the file's description."""
    buffer, described = io.BytesIO(), PngInfo()
    if stated is not None:
        described.add_itxt("Description", stated)
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True, pnginfo=described)
    return buffer.getvalue()


def enlarged(
    samples: Samples,
    *,
    columns: int = 10,
    rows: int | None = ROWS,
    names: Sequence[str] = (),
    stated: str | None = None,
) -> bytes:
    """The grid as a PNG file, enlarged by a whole number so that small images can be seen, its rows named."""
    return png(_enlarged(samples, columns=columns, rows=rows, names=names), stated=stated)


def _enlarged(samples: Samples, *, columns: int, rows: int | None, names: Sequence[str]) -> Canvas:
    scale = max(1, 56 // samples.x.shape[2])
    picture = grid(samples, columns=columns, rows=rows, scale=scale)
    if not names:
        return picture
    shown = [names[label] for label in np.unique(samples.y)[:rows]]
    return named(picture, shown, height=(samples.x.shape[2] + GAP) * scale)


def best_panels(found: Facts) -> list[Panel]:
    """The best record's samples of every method at every epsilon, by rising epsilon, the searched method first."""
    rows = pareto.best_rows([record for record in found.records if record.private], metrics=found.ranking)
    order = pareto.methods(found.records)
    panels: list[Panel] = []
    seen: set[str] = set()
    for (budget, method), record in sorted(rows.items(), key=lambda r: (r[0][0].epsilon, order.index(r[0][1]))):
        samples = samples_of(found.store, record)
        if samples is None or record.artefacts["samples"] in seen:
            continue  # the same images again: a row that does not depend on the budget
        seen.add(record.artefacts["samples"])
        alone = f"epsilon {words.epsilon(record.epsilon_alone)} alone"
        at = f"budget {budget.epsilon:g}" if pareto.spends_its_budget(record) else alone
        panels.append(Panel(title=f"{method}, {at}", record=record, samples=samples))
    return panels


def draw_panels(panels: Sequence[Panel], *, columns: int = 8, across: int = 3, stated: str = "") -> bytes:
    """A PNG of all grids, `across` beside each other, each under its title; what has to be stated stands below."""
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    pictures = [_enlarged(panel.samples, columns=columns, rows=ROWS, names=panel.samples.classes) for panel in panels]
    ratio = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = Figure(figsize=(3.2 * across, (3.2 * ratio + 0.4) * down + 0.3), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, panel, picture in zip(axes, panels, pictures, strict=False):
        ax.imshow(picture, interpolation="antialiased")
        ax.set_title(panel.title, fontsize=10)
    if stated:
        lines = textwrap.fill(stated, 50 * across)
        figure.supxlabel(lines, fontsize=9, x=0.01, ha="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None, "Description": stated or None})
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class SelectedClasses:
    """The public classes that a trial was pre-trained on: their names, noisy counts, and one image of the first few."""

    record: Record
    public: str
    labels: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]  # of every label, the largest noisy count first
    counts: NDArray[np.float64]
    examples: Canvas  # [labels, shown, C, H, W]

    def described(self, row: int, *, most: int = 12) -> list[str]:
        """The classes of a label with their noisy counts, at most so many of them."""
        names, more = self.classes[row], len(self.classes[row]) - most
        shown = [f"{name} ({count:.0f})" for name, count in zip(names[:most], self.counts[row], strict=False)]
        return [*shown, *([f"and {more} more"] if more > 0 else [])]

    def strips(self) -> list[tuple[str, tuple[str, ...], bytes]]:
        """For the first labels: the name, the names of the classes shown, and their images side by side as a PNG."""
        found = []
        for name, names, x in zip(self.labels[:ROWS], self.classes, self.examples, strict=False):
            row = Samples(x=x, y=np.zeros(len(x), np.int64))
            found.append((name, names[: len(x)], enlarged(row, columns=len(x))))
        return found


def selection_of(found: Facts) -> SelectedClasses | None:
    """What the best private trial of the search was pre-trained on, if it asked the query; never of an internal one."""
    searched = [r for r in found.records if r.private and r.role == "search" and "selection" in r.artefacts]
    record = found.best_of(searched)
    artefact = found.store.get("selection", record.artefacts["selection"]) if record is not None else None
    if record is None or artefact is None or artefact.manifest.privacy == "internal":
        return None
    meta, arrays = artefact.manifest.meta, artefact.arrays
    if not {"counts", "examples"} <= arrays.keys():
        return None
    return SelectedClasses(
        record=record, public=str(meta["public"]), labels=tuple(meta["labels"]),
        classes=tuple(map(tuple, meta["selected"])), counts=arrays["counts"], examples=arrays["examples"],
    )  # fmt: skip
