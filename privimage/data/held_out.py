"""A held-out part of the public set that stands in for the sensitive one, so that a search costs no privacy."""

from __future__ import annotations

import numpy as np

from privimage.data.config import HeldOutConfig
from privimage.data.keywords import Captioned
from privimage.data.sets import PARTS, Images, PrivateSet, PublicSet, SensitiveData, contents_of, split_by_content
from privimage.errors import InputError


def hold_out(public: PublicSet, config: HeldOutConfig) -> tuple[PublicSet, SensitiveData]:
    """The public set without the classes that are held out, and these as if they were a sensitive set.

    Each label of the stand-in is a group of public classes. Raises InputError if there are too few of them.
    """
    if isinstance(public, Captioned):
        raise InputError(
            "tuning.stand_in: an image of data.public has several keywords, so none can be held out; name another set "
            "as the stand-in"
        )
    count, each = len(public.classes), round(config.share * len(public.classes) / config.labels)
    if each < 1 or count - each * config.labels < config.labels:
        raise InputError(
            f"tuning.stand_in.share: got {config.share:g}; that is {each} of {count} public classes for each of "
            f"{config.labels} labels; use at least {config.labels / count:.2g}, and leave some"
        )
    order = np.random.default_rng(config.seed).permutation(count)
    label_of = np.full(count, -1)
    label_of[order[: each * config.labels]] = np.arange(each * config.labels) % config.labels
    taken, left = np.flatnonzero(label_of[public.y] >= 0), np.flatnonzero(label_of[public.y] < 0)
    kept = np.flatnonzero(label_of < 0)
    rest = PublicSet(
        x=public.part(left),
        y=np.searchsorted(kept, public.y[left]),
        name=public.name,
        classes=tuple(public.classes[i] for i in kept),
    )
    found = Images(x=public.part(taken), y=label_of[public.y[taken]].astype(np.int64))
    shares = (1 - config.validation - config.test, config.validation, config.test)
    parts = split_by_content(contents_of(found), fractions=shares, seed=config.split_seed)
    names = tuple(f"group {label}" for label in range(config.labels))
    sets = [
        PrivateSet(x=found.part(i), y=found.y[i], name=config.name, id=config.id, split=part, classes=names)
        for part, i in zip(PARTS, parts, strict=True)
    ]
    return rest, SensitiveData(train=sets[0], validation=sets[1], test=sets[2])
