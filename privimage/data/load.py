"""From a configuration to images: the three splits of the sensitive set, or the public set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privimage.data.config import PublicConfig, SensitiveConfig, where
from privimage.data.decoded import DecodedCopy, opened
from privimage.data.sets import (
    PARTS,
    Chosen,
    Index,
    Pictures,
    PrivateSet,
    PublicSet,
    SensitiveData,
    check_own_test,
    content_of,
    places_of,
    split_by_places,
)
from privimage.data.sources.source import Rows, Source
from privimage.disk import refusal
from privimage.errors import InputError

CHANCE = 1e-6  # that all images of a class fall outside the training split


def load_sensitive(config: SensitiveConfig, *, place: Path | None = None) -> SensitiveData:
    """The train, validation and test parts of the sensitive set: disjoint, and the same on every call.

    Of a set that is large a decoded copy is kept below `place`, as private as the images; without one it is held in
    memory.
    """
    found = opened(config, place=place, seed=config.split_seed)
    shares = (1 - config.validation - config.test, config.validation, config.test)
    fractions = (1 - config.validation, config.validation) if config.has_test else shares
    _check_classes(config, found.y, found.classes)
    places, seen = _placed(found, seed=config.split_seed)
    indices = split_by_places(places, fractions=fractions)
    parts = [(_held(config, found, index), found.y[index]) for index in indices]
    if config.has_test:
        official = opened(config, place=place, seed=config.split_seed, test=True)
        if official.classes != found.classes:
            raise InputError(
                f"{where(config)}: the test split has other classes than the train split; bring them together"
            )
        parts.append((_held(config, official, np.arange(len(official.y))), official.y))
        seen += (b"test" + example for example in _placed(official, seed=config.split_seed)[1])
    classes = found.classes
    _check_parts(config, [labels for _, labels in parts], classes)
    sets = [
        PrivateSet(x=x, y=y, name=config.name, id=config.id, split=part, classes=classes)
        for part, (x, y) in zip(PARTS, parts, strict=True)
    ]
    if config.has_test:
        check_own_test(sets[0], sets[1], test=sets[2], where=where(config, test=True), fix=_other_test(config))
    return SensitiveData(
        train=sets[0], validation=sets[1], test=sets[2], content=content_of((*seen, *map(str.encode, classes)))
    )


def _held(source: Source, found: Rows | DecodedCopy, index: Index) -> NDArray[np.uint8] | Pictures:
    """The images of these places, or what gives them, where they are not to be held in memory."""
    if isinstance(found, DecodedCopy):
        return Chosen(of=found.pictures, index=index)
    return found.rows(index) if source.in_memory else Chosen(of=found, index=index)


def _placed(found: Rows | DecodedCopy, *, seed: int) -> tuple[NDArray[np.float64], list[bytes]]:
    """Where every image stands in the split, and the digests of their contents."""
    if isinstance(found, DecodedCopy):
        return found.places, list(found.contents())
    seen: list[bytes] = []

    def noted() -> Iterator[bytes]:
        for content in found.contents():
            seen.append(hashlib.sha256(content).digest())
            yield content

    return places_of(noted(), seed=seed), seen


def least_in_class(config: SensitiveConfig) -> int:
    """How many images a class needs so that none being left to train on has a chance below CHANCE.

    From the declared shares alone, so that no class is refused or kept by where the hash of an image falls. A refusal
    tells whoever has the images that a class has fewer than this; nothing is asked, and nothing leaves.

    >>> least_in_class(SensitiveConfig(name="digits", id="digits-v1"))
    11
    """
    elsewhere = config.validation + (0.0 if config.has_test else config.test)
    return max(2, math.ceil(math.log(CHANCE) / math.log(elsewhere)))


def _check_classes(config: SensitiveConfig, y: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Raise InputError for a class that is too small to be split, before any image decides where it belongs."""
    least, counts = least_in_class(config), np.bincount(y, minlength=len(classes))
    small = np.flatnonzero(counts < least)
    if len(small):
        raise InputError(
            f"{where(config)}: class {classes[small[0]]!r} has fewer than {least} images, too few to be "
            f"split (validation {config.validation:g}, test {config.test:g}); add images, merge it with another class "
            "or leave it out"
        )


def _check_parts(config: SensitiveConfig, labels: list[NDArray[np.int64]], classes: tuple[str, ...]) -> None:
    """Raise InputError if a part is empty, or if there is a class that cannot be trained on."""
    for part, found in zip(PARTS, labels, strict=True):
        if not len(found) and part == "test" and config.has_test:
            raise InputError(f"{where(config, test=True)}: its test split holds no images; {_other_test(config)}")
        if not len(found):
            fix = "add images" if part == "train" else f"raise data.sensitive.{part}"
            raise InputError(f"{where(config)}: too few images to split, none is left for {part}; {fix}")
    missing = np.setdiff1d(np.arange(len(classes)), labels[0])
    if len(missing):
        raise InputError(
            f"{where(config)}: class {classes[missing[0]]!r} has too few images to split, none is left for train"
        )


def _other_test(config: SensitiveConfig) -> str:
    """What mends a test split of its own, by the key that says that there is one."""
    if getattr(config, "test_root", None) is not None:
        return "give test_root other images, or leave it out: a test split is then cut from root"
    if getattr(config, "official", False):
        return "put its lists there as they are published, or set official: false: a test split is then cut"
    return "put its files there as they are published"


def load_public(config: PublicConfig, *, cache: Path) -> PublicSet:
    """The public set; what has to be drawn, or decoded of a large one, is made once and kept under `cache`."""
    found = opened(config, place=cache, cache=cache, limit_classes=config.limit_classes)
    empty = np.setdiff1d(np.arange(len(found.classes)), found.y)
    if len(empty):
        raise InputError(
            f"{where(config)}: class {found.classes[empty[0]]!r} has no images; give it some, or leave it out"
        )
    x = found.pictures if isinstance(found, DecodedCopy) else _held(config, found, np.arange(len(found.y)))
    return PublicSet(x=x, y=found.y, name=config.name, classes=found.classes)


def check_there(config: SensitiveConfig | PublicConfig, *, key: str) -> None:
    """Raise InputError naming the key if the set is not where it should be: looked at by name, no image is opened."""
    place = next((name for name in config.place if name in type(config).model_fields), "name")
    try:
        config.check()
    except OSError as error:
        raise refusal(error, f"{key}.{place}: {getattr(config, place)}", "read") from None
    except InputError as error:
        raise InputError(f"{key}.{place}: {error}") from None
