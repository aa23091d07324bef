"""Exhibit: what a person may see of a selection: which public classes stand for which label, and what they look like.

Everything here follows from the noisy histogram and from public images, so it is paid for already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privimage.data.sets import PublicSet
from privimage.semantics import Selection

SHOWN = 8  # public classes a label, those with the largest noisy counts, of which an image is kept


def arrays_of(chosen: Selection, histogram: NDArray[np.float64], public: PublicSet) -> dict[str, NDArray[Any]]:
    """`counts` [labels, k2], the noisy counts of the selected classes, the largest first, and `examples`.

    `examples` are uint8 [labels, at most SHOWN, C, H, W]: the first public image of each class.
    """
    counts = np.take_along_axis(histogram, chosen.classes, axis=1)
    shown = chosen.classes[:, :SHOWN]
    first = np.array([np.flatnonzero(public.y == c)[0] for c in range(len(public.classes))])
    examples = np.stack([public.rows(first[row]) for row in shown])
    return {"counts": counts, "examples": examples}


def names_of(chosen: Selection, public: PublicSet, labels: Sequence[str]) -> dict[str, Any]:
    """The names of the labels, of the public set, and of the classes that were selected for every label."""
    selected = [[public.classes[c] for c in row] for row in chosen.classes]
    return {"labels": list(labels), "public": public.name, "selected": selected}
