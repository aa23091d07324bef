"""From a configuration to images: the three splits of the sensitive set, or the public set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privimage.data.config import PublicConfig, SensitiveConfig
from privimage.data.fit import Pixels, fit_all
from privimage.data.sets import PARTS, PrivateSet, PublicSet, SensitiveData, content_of, contents_of, split_by_content
from privimage.data.sources.digits import CLASSES, read_digits
from privimage.data.sources.folder import read_contents, read_folder
from privimage.data.sources.glyphs import load_glyphs
from privimage.errors import InputError

Labelled = tuple[Pixels, NDArray[np.int64], tuple[str, ...]]
CHANCE = 1e-6  # that all images of a class fall outside the training split


def load_sensitive(config: SensitiveConfig) -> SensitiveData:
    """The train, validation and test parts of the sensitive set: disjoint, and the same on every call."""
    fit = partial(fit_all, size=config.size, channels=config.channels)
    whole = config.name in ("digits", "folder")
    shares = (1 - config.validation - config.test, config.validation, config.test)
    if config.name == "folder":
        x, y, classes = read_folder(_root(config), size=config.size, channels=config.channels)
        contents: Iterable[bytes] = read_contents(_root(config))
    else:
        raw, y, classes = (*read_digits(), CLASSES) if config.name == "digits" else _vision(config, train=True)
        x, contents = fit(raw), contents_of(raw, y)
    seen: list[bytes] = []
    _check_classes(config, y, classes)
    fractions = shares if whole else (1 - config.validation, config.validation)
    parts = [
        (x[i], y[i]) for i in split_by_content(_noted(contents, seen), fractions=fractions, seed=config.split_seed)
    ]
    if not whole:
        official = _vision(config, train=False)
        parts.append((fit(official[0]), official[1]))
        seen += (b"test" + example for example in _digests(contents_of(*official[:2])))
    _check_parts(config, [labels for _, labels in parts], classes)
    sets = [
        PrivateSet(x=x, y=y, name=config.name, id=config.id, split=part, classes=classes)
        for part, (x, y) in zip(PARTS, parts, strict=True)
    ]
    return SensitiveData(
        train=sets[0], validation=sets[1], test=sets[2], content=content_of((*seen, *map(str.encode, classes)))
    )


def _noted(contents: Iterable[bytes], seen: list[bytes]) -> Iterator[bytes]:
    """The same contents; their digests are added to `seen`."""
    for content in contents:
        seen += _digests((content,))
        yield content


def _digests(contents: Iterable[bytes]) -> Iterator[bytes]:
    return (hashlib.sha256(content).digest() for content in contents)


def least_in_class(config: SensitiveConfig) -> int:
    """How many images a class needs so that none being left to train on has a chance below CHANCE.

    From the declared shares alone, so that no class is refused or kept by where the hash of an image falls. A refusal
    tells whoever has the images that a class has fewer than this; nothing is asked, and nothing leaves.

    >>> least_in_class(SensitiveConfig(name="digits", id="digits-v1"))
    11
    """
    elsewhere = config.validation + (config.test if config.name in ("digits", "folder") else 0.0)
    return max(2, math.ceil(math.log(CHANCE) / math.log(elsewhere)))


def _check_classes(config: SensitiveConfig, y: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Raise InputError for a class that is too small to be split, before any image decides where it belongs."""
    least, counts = least_in_class(config), np.bincount(y, minlength=len(classes))
    small = np.flatnonzero(counts < least)
    if len(small):
        raise InputError(
            f"{config.root or config.name}: class {classes[small[0]]!r} has fewer than {least} images, too few to be "
            f"split (validation {config.validation:g}, test {config.test:g}); add images, merge it with another class "
            "or leave it out"
        )


def _check_parts(config: SensitiveConfig, labels: list[NDArray[np.int64]], classes: tuple[str, ...]) -> None:
    """Raise InputError if a part is empty, or if there is a class that cannot be trained on."""
    where = config.root or config.name
    for part, found in zip(PARTS, labels, strict=True):
        if not len(found):
            raise InputError(f"{where}: too few images to split, none is left for {part}; raise data.sensitive.{part}")
    missing = np.setdiff1d(np.arange(len(classes)), labels[0])
    if len(missing):
        raise InputError(f"{where}: class {classes[missing[0]]!r} has too few images to split, none is left for train")


def load_public(config: PublicConfig, *, cache: Path) -> PublicSet:
    """The public set; what has to be drawn is drawn once and kept under `cache`."""
    if config.name == "glyphs":
        drawn = load_glyphs(cache=cache, min_images=config.min_images, limit_classes=config.limit_classes)
        x, y, classes = drawn.x, drawn.y, drawn.classes
    elif config.name == "folder":
        x, y, classes = read_folder(
            _root(config), size=config.size, channels=config.channels, limit_classes=config.limit_classes
        )
    else:
        x, y, classes = _vision(config, train=True)
        classes = classes[: config.limit_classes]
        kept = y < len(classes)
        x, y = x[kept], y[kept]
    return PublicSet(x=fit_all(x, size=config.size, channels=config.channels), y=y, name=config.name, classes=classes)


def _vision(config: SensitiveConfig | PublicConfig, *, train: bool) -> Labelled:
    from privimage.data.sources.vision import read_vision  # here: it imports torch

    if config.name not in ("mnist", "fashion-mnist", "cifar10"):
        raise InputError(f"name: got {config.name}; torchvision has mnist, fashion-mnist and cifar10")
    return read_vision(config.name, root=_root(config), train=train, download=config.download)


def _root(config: SensitiveConfig | PublicConfig) -> Path:
    if config.root is None:  # checked when the configuration was made
        raise InputError(f"root: name {config.name} needs the path of a folder")
    return Path(config.root).expanduser()
