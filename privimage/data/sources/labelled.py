"""Encoded images whose labels stand beside them: in a table, or in an archive; not as the name of a directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privimage.data.sources.encoded import Encoded, Pictured, Stored
from privimage.errors import InputError
from privimage.field_types import Constraint


def _different(names: tuple[str, ...] | None) -> None:
    if names is not None and len(set(names)) < len(names):
        raise ValueError("a name stands there twice; give every class once")


Names = Annotated[tuple[str, ...], Field(min_length=1), Constraint(_different, {"uniqueItems": True})]


class Labelled(Pictured):
    """A source whose labels are told image by image: names of `classes`, or their places in it."""

    classes: Names | None = None  # the names of the labels, in order; null, of a public set: all that there are

    def check_sensitive(self) -> None:
        """Raise ValueError without channels, or without classes."""
        super().check_sensitive()
        if self.classes is None:
            raise ValueError("classes: give the names of the labels: one image must not decide that there is one more")

    def labelled(
        self,
        stored: Stored,
        labels: Sequence[str],
        limit_classes: int | None,
        *,
        root: Path,
        named: Callable[[int], str],
        own: tuple[str, ...] | None = None,
    ) -> Encoded:
        """All that is stored, with these labels. Raises InputError for one of no class; `named` says where.

        `own` are what the set itself calls its classes.
        """
        if not labels:
            raise InputError(f"{root}: holds no images")
        y, classes = places(labels, self.classes or own, named=named)
        if limit_classes is not None and limit_classes < len(classes) and not (y < limit_classes).any():
            raise InputError(f"{root}: holds no image of the first {limit_classes} classes")
        return Encoded.of(
            stored, y=y, classes=classes, size=self.size, channels=self.channels, limit_classes=limit_classes
        )


def places(
    labels: Sequence[str], classes: tuple[str, ...] | None, *, named: Callable[[int], str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The place of every label among the classes, and the classes: those given, or the different labels in order.

    A label is the name of a class, or its place, unless names are whole numbers themselves.

    >>> places(["10", "9", "10"], None, named=str)
    (array([1, 0, 1]), ('9', '10'))
    >>> places(["owl", "0"], ("cat", "owl"), named=str)[0]
    array([1, 0])
    >>> places(["1", "2"], ("1", "2", "3"), named=str)[0]
    array([0, 1])
    """
    if classes is None:
        found = set(labels)
        numbers = all(label.isascii() and label.isdigit() and label == (label.lstrip("0") or "0") for label in found)
        classes = tuple(sorted(found, key=lambda label: (numbers and len(label), label)))  # a longer one is larger
    place = {name: i for i, name in enumerate(classes)}
    if not any(name.isdecimal() for name in classes):
        place |= {str(i): i for i in range(len(classes))}
    y = np.array([place.get(label, -1) for label in labels], np.int64)
    unknown = np.flatnonzero(y < 0)
    if len(unknown):
        raise InputError(
            f"{named(int(unknown[0]))}: its label is none of the {len(classes)} classes, by name or by place from 0; "
            "correct it, or give all in `classes`"
        )
    return y, classes
