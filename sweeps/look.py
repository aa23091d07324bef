"""What was read of the data: what is public of it for everybody, counts per class for the person at the keyboard."""

from __future__ import annotations

import numpy as np

from privimage.data import HeldOutConfig, PublicConfig, SensitiveConfig
from privimage.data.decoded import left_out_of
from privimage.data.pair import DataConfig
from privimage.data.sets import PARTS, Images, PublicSet, SensitiveData
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.privacy.looks import Look
from privimage.sweeps.sweep import Sweep
from privimage.text import count


def read_lines(data: DataConfig, public: PublicSet, sensitive: SensitiveData) -> list[str]:
    """One line a set: images, their shape, classes, what was left out, and how many are in each split.

    Nothing of it is private: the sizes of the splits are taken as public.
    """
    parts = (sensitive.train, sensitive.validation, sensitive.test)
    split = ", ".join(f"{len(part)} {part.split}" for part in parts)
    first = sensitive.train
    return [
        f"sensitive set {first.id}: {_size(first, sum(map(len, parts)))}, {count(len(first.classes), 'class')}; {split}"
        + _left_out(data.sensitive, first),
        f"public set {public.name}: {_size(public, len(public))}, {count(len(public.classes), 'class')}"
        + _left_out(data.public, public),
    ]


def class_counts(sensitive: SensitiveData) -> list[tuple[str, int, int, int]]:
    """Of every class its name and how many images are in train, validation and test. PRIVATE: exact counts."""
    parts = (sensitive.train, sensitive.validation, sensitive.test)
    classes = sensitive.train.classes
    train, validation, test = (np.bincount(part.y, minlength=len(classes)) for part in parts)
    return [(name, int(train[i]), int(validation[i]), int(test[i])) for i, name in enumerate(classes)]


def write_down(sweep: Sweep, *, root: Root) -> None:
    """Put the look at the exact counts in the ledger of the set, before it is taken: once for all times.

    Raises BudgetExceeded if the set admits no look.
    """
    ledger = Ledger(root.ledger(sweep.data.sensitive.id))
    for split in PARTS:
        ledger.look(Look(split=split, what="counts per class, at the keyboard"))


def _size(images: Images, n: int) -> str:
    channels, height, width = images.shape
    return f"{n} images of {height} x {width} pixels, {'grey' if channels == 1 else 'colour'}"


def _left_out(config: SensitiveConfig | HeldOutConfig | PublicConfig, images: Images) -> str:
    known, found = left_out_of(images)
    if not known and not isinstance(config, HeldOutConfig):
        found = config.left_out()
    if found is None:
        return ""
    return "; left out: " + (", ".join(f"{reason} ({n})" for reason, n in found.items()) or "nothing")
