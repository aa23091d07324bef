"""Features of images for a picture in the plane: of a run's synthetic ones, and of real ones behind a look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privimage.data.config import SensitiveConfig
from privimage.data.load import load_sensitive
from privimage.data.pair import DataConfig
from privimage.errors import InputError
from privimage.metrics.features import features
from privimage.paths import RunFolder
from privimage.privacy.contents import Contents
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look, may_read
from privimage.schema import digest

WHAT = "picture of single images in the plane"


def shown(x: NDArray[np.uint8], *, network: str, weights: Path | None) -> NDArray[np.float32]:
    """Features [n, d] of these images."""
    return features(x, network=network, weights=weights)


def real(
    folder: RunFolder, data: DataConfig, *, n: int, network: str, weights: Path | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features [m, d] and labels [m] of m <= n real test images of a run: PRIVATE, after a look is on disk.

    Raises InputError if the images are not there, or are others than those that were asked; BudgetExceeded if the set
    admits no look.
    """
    source = data.sensitive
    if not isinstance(source, SensitiveConfig):
        raise InputError(f"{folder.path}: ran on public images; there are no sensitive ones to show")
    asked = digest({"run": folder.path.name, "n": n, "network": network})  # others of the images are another look
    look, ledger = Look(split="test", what=WHAT, settings=asked), Ledger(folder.root.ledger(source.id))
    ledger.check_looks([look])
    sensitive = load_sensitive(source, place=folder.root.decoded(source.id))
    Contents(folder.root, source.id).revision(sensitive.content)
    test, seen = sensitive.test, ledger.look(look)
    may_read(test, seen)
    index = np.unique(np.linspace(0, len(test) - 1, min(n, len(test))).astype(np.int64))  # sets lie by label
    return features(test.rows(index), network=network, weights=weights), test.y[index]
