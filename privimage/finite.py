"""Training that blows up is a failure: nothing that is not finite is stored, and images that are all one are none.

Whether released weights are finite is post-processing of the release: it tells no more of the data than they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privimage.errors import TrialFailed

DIVERGED = "diverged"  # in the meta data of an answer that was paid for, and was not finite: in place of its arrays


class Diverged(TrialFailed):
    """The stage `kind` made numbers that are not finite, or images that are all the same.

    What to turn is for its method to say (`Stage.fix`), where the method is known.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def is_finite(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether every number of every array is finite."""
    return all(np.isfinite(array).all() for array in arrays.values() if np.asarray(array).dtype.kind in "fc")


def diverged(kind: str) -> Diverged:
    """The failure of a stage whose numbers are not finite."""
    return Diverged(f"{kind}: training blew up, its numbers are not finite", kind)


def check_images(x: NDArray[np.uint8]) -> None:
    """Raise Diverged if all images [n, ...] are equal: whatever made them, it has learned nothing to draw."""
    if (x == x[:1]).all():
        raise Diverged(f"samples: all {len(x)} images are the same; training blew up", "samples")
