"""Clouds: features of images in the plane by t-SNE, a panel a set of images, a colour a label (PrivImage, Figure 4).

One map for all sets, so that panels can be laid over each other. Distances between far groups say nothing in it, and
neither do the sizes of groups; what it shows is whether labels part, and whether sets overlap.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from privimage.analysis import words
from privimage.errors import InputError

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#A6761D", "#1B7837", "#000000",
)  # fmt: skip
MARKERS = "os^Dv<>Pp*"
PERPLEXITY, DIMENSIONS = 30.0, 50  # of t-SNE, and of what it is given
ALIKE = 1e-6  # of the largest feature: images that differ by less lie in one point
ACROSS = 3
DPI = 150


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A set of images: features [n, d] and labels [n]; `private` if no epsilon covers where its points lie."""

    title: str
    features: NDArray[np.floating]
    y: NDArray[np.int64]
    private: bool = False


def embedded(clouds: Sequence[Cloud], *, seed: int = 0) -> list[NDArray[np.float64]]:
    """The places [n, 2] of every cloud, in one map; the same for the same seed."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    every = np.concatenate([cloud.features for cloud in clouds]).astype(np.float64)
    kept = min(DIMENSIONS, *every.shape)
    if float(np.ptp(every, axis=0).max()) < ALIKE * float(np.abs(every).max() + 1):
        raise InputError(
            "tsne: the features of all images are the same, so no map shows them apart; look at the images"
        )
    small = PCA(n_components=kept, svd_solver="full").fit_transform(every)
    perplexity = min(PERPLEXITY, (len(every) - 1) / 3)
    flat = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(small)
    ends = np.cumsum([len(cloud.y) for cloud in clouds])[:-1]
    return [np.asarray(part, np.float64) for part in np.split(flat, ends)]


def draw(clouds: Sequence[Cloud], *, classes: Sequence[str], network: str, stated: Sequence[str]) -> bytes:
    """A PNG of the clouds; what has to be stated stands below, and inside as its description."""
    buffer, said = io.BytesIO(), " ".join(stated)
    drawn = figure(clouds, classes=classes, network=network, stated=stated)
    drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None, "Description": said})
    return buffer.getvalue()


def figure(clouds: Sequence[Cloud], *, classes: Sequence[str], network: str, stated: Sequence[str]) -> Figure:
    """The panels, real images in grey behind the synthetic ones."""
    places = embedded(clouds)
    rows = -(-len(clouds) // ACROSS)
    drawn = Figure(figsize=(10, 0.9 + 3.3 * rows), layout="constrained")
    FigureCanvasAgg(drawn)
    grid = drawn.subplots(rows, min(ACROSS, len(clouds)), sharex=True, sharey=True, squeeze=False).ravel()
    behind = [place for cloud, place in zip(clouds, places, strict=True) if cloud.private]
    for ax, cloud, place in zip(grid, clouds, places, strict=False):
        for other in behind if not cloud.private else ():
            ax.scatter(other[:, 0], other[:, 1], s=6, color="#c4c4c4", linewidths=0, zorder=1)
        _labels(ax, cloud, place, classes)
    for ax in grid[len(clouds) :]:
        ax.set_axis_off()
    if len(classes) <= len(COLOURS):
        handles, names = grid[0].get_legend_handles_labels()
        drawn.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=9)
    below = [f"t-SNE of features by {network}; one map for all panels.", *_private(clouds), *stated]
    text = "\n".join(textwrap.fill(line, 150) for line in below)
    drawn.supxlabel(text, fontsize=8, color="#444444", x=0.01, ha="left")
    return drawn


def _labels(ax: Axes, cloud: Cloud, place: NDArray[np.float64], classes: Sequence[str]) -> None:
    for label, name in enumerate(classes):
        here = place[cloud.y == label]
        ax.scatter(
            here[:, 0], here[:, 1], s=12, color=COLOURS[label % len(COLOURS)], marker=MARKERS[label % len(MARKERS)],
            linewidths=0, alpha=0.8, label=name, zorder=2,
        )  # fmt: skip
    ax.set_title(cloud.title + words.DAGGER * cloud.private, loc="left", fontsize=10)
    ax.set(xticks=[], yticks=[])


def _private(clouds: Sequence[Cloud]) -> list[str]:
    if not any(cloud.private for cloud in clouds):
        return []
    return [
        f"{words.DAGGER} and grey: PRIVATE, a point a real image, without noise; the map of all points follows from "
        "them too, so no epsilon covers this picture: it is for who may see those images."
    ]
