"""Pictures: grids of synthetic images, rows = labels. Internal samples (no guarantee) are never drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from analysis import pareto, words
from analysis.facts import Facts
from privimage.errors import Damaged
from privimage.record import Record
from privimage.store import Store

Pixels = NDArray[np.uint8]
GAP = 1  # white pixels between images


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Synthetic images uint8 [n, C, H, W] with labels."""

    x: Pixels
    y: NDArray[Any]


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
    return Samples(x=artefact.arrays["x"], y=artefact.arrays["y"])


def grid(samples: Samples, *, columns: int = 10, rows: int | None = 20, scale: int = 1) -> Pixels:
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


def png(picture: Pixels, *, stated: str | None = None) -> bytes:
    """The picture as a PNG file; what is stated of it travels inside, as the file's description."""
    buffer, described = io.BytesIO(), PngInfo()
    if stated is not None:
        described.add_itxt("Description", stated)
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True, pnginfo=described)
    return buffer.getvalue()


def enlarged(samples: Samples, *, columns: int = 10, rows: int | None = 20, stated: str | None = None) -> bytes:
    """The grid as a PNG file, enlarged by a whole number so that small images can be seen."""
    return png(grid(samples, columns=columns, rows=rows, scale=max(1, 56 // samples.x.shape[2])), stated=stated)


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
        paid = budget.epsilon if pareto.spends_its_budget(record) else record.epsilon_alone
        panels.append(Panel(title=f"{method}, epsilon {words.epsilon(paid)}", record=record, samples=samples))
    return panels


def draw_panels(panels: Sequence[Panel], *, columns: int = 8, across: int = 3) -> bytes:
    """A PNG of all grids, `across` beside each other, each under its title."""
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    pictures = [grid(panel.samples, columns=columns) for panel in panels]
    ratio = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = Figure(figsize=(3.2 * across, (3.2 * ratio + 0.4) * down), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, panel, picture in zip(axes, panels, pictures, strict=False):
        ax.imshow(picture, interpolation="nearest")
        ax.set_title(panel.title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
