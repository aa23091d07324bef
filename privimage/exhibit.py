"""Exhibit: what a person may see of a choice: which public classes or images stand for which label, how they look.

Everything here follows from noisy answers and from public images, so it is paid for already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privimage.data.keywords import members_of
from privimage.data.sets import PublicSet
from privimage.data.views import Views
from privimage.semantics import Selection

SHOWN = 8  # public classes a label, those with the largest noisy counts, of which an image is kept; or images of it


def arrays_of(chosen: Selection, histogram: NDArray[np.float64], public: PublicSet) -> dict[str, NDArray[Any]]:
    """`counts` [labels, k2], the noisy counts of the selected classes, the largest first, and `examples`.

    `examples` are uint8 [labels, at most SHOWN, C, H, W]: the first public image of each class.
    """
    counts = np.take_along_axis(histogram, chosen.classes, axis=1)
    shown = chosen.classes[:, :SHOWN]
    first = np.array([images[0] for images in members_of(public)])
    examples = np.stack([public.rows(first[row]) for row in shown])
    return {"counts": counts, "examples": examples}


def names_of(chosen: Selection, public: PublicSet, labels: Sequence[str]) -> dict[str, Any]:
    """The names of the labels, of the public set, and of the classes that were selected for every label."""
    selected = [[public.classes[c] for c in row] for row in chosen.classes]
    return {"labels": list(labels), "public": public.name, "selected": selected}


def arrays_of_tilted(
    index: NDArray[np.int64], label: NDArray[np.int64], weight: NDArray[np.float64], views: Views
) -> dict[str, NDArray[Any]]:
    """What is seen of public images at places `index` of the views, each with a weight for a label.

    `shown` are the places in `index` of the SHOWN images of every label that weigh most, the heaviest first, and
    `examples` uint8 [len(shown), C, H, W] what they look like. `classes` [labels, at most SHOWN] are the public classes
    with the largest `shares` of the weight of each label.
    """
    order = np.lexsort((-weight, label))
    kinds = np.unique(label)
    shown = np.concatenate([order[label[order] == y][:SHOWN] for y in kinds])
    of_class = views.public.y[index % len(views.public)]
    spread = np.zeros((len(kinds), len(views.public.classes)))
    np.add.at(spread, (np.searchsorted(kinds, label), of_class), weight)
    spread /= spread.sum(axis=1, keepdims=True)
    classes = np.argsort(-spread, axis=1, kind="stable")[:, :SHOWN]
    shares = np.take_along_axis(spread, classes, axis=1)
    return {"shown": shown, "examples": views.rows(index[shown]), "classes": classes, "shares": shares}


def names_of_tilted(classes: NDArray[np.int64], views: Views, labels: Sequence[str]) -> dict[str, Any]:
    """The names of labels, public set and classes, as `names_of`; and how many images there were to choose from."""
    public = views.public
    selected = [[public.classes[c] for c in row] for row in classes]
    return {"labels": list(labels), "public": public.name, "selected": selected, "pool": len(views)}
