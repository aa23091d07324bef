"""Decoded copies: a set that is LARGE is decoded once, kept on disk with what every start needs, and read by rows.

A copy is found by the configuration of its set, and is of use as long as the stamp of the set's files is the same: a
file that was changed, added or taken away is seen. Each start looks at the size of every file, at digests of all but
the images, and at a few blocks of these, spread over the file; damage elsewhere in the images it does not see.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from privimage import lines
from privimage.data.config import PublicConfig, SensitiveConfig, where
from privimage.data.decode import MARK, CopyFacts, decode, digest_of, plan_of, small_files
from privimage.data.mapped import Mapped, mapped
from privimage.data.sets import Chosen, Images
from privimage.data.sources import source as sources
from privimage.data.sources.source import Rows
from privimage.disk import exclusive, make_folder, on_disk, private_folder, refusal
from privimage.errors import InputError
from privimage.paths import CopyFolder
from privimage.plain_yaml import is_text, one_line, shown_path
from privimage.schema import digest

DECODING = 1  # raise it when a change in this code changes pixels
LOOKED_AT = 8  # blocks of the images that every start reads, to see that they are what was written
NOT_IN_KEY = {"id", "validation", "test"}  # fields that change no file of the copy; the id is in its path

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DecodedCopy:
    """A set on disk: what `privimage.data.load` needs of it."""

    folder: CopyFolder
    facts: CopyFacts

    @cached_property
    def y(self) -> NDArray[np.int64]:
        """The labels."""
        return np.fromfile(self.folder.column("labels"), np.int64)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self.facts.classes

    @property
    def pictures(self) -> Mapped:
        """The images."""
        plan, labels = self.facts.plan, self.facts.digests["labels"]
        return Mapped(folder=self.folder.path, shape=plan.shape, labels=labels, of_all=self.facts.of_all)

    @property
    def places(self) -> NDArray[np.float64]:
        """Of a sensitive set: see `places_of`."""
        return np.fromfile(self.folder.column("places"), np.float64)

    def contents(self) -> Iterator[bytes]:
        """Of a sensitive set: the digest of every content (see Rows)."""
        raw = self.folder.column("contents").read_bytes()
        return (raw[at : at + MARK] for at in range(0, len(raw), MARK))


def opened(
    config: SensitiveConfig | PublicConfig,
    *,
    place: Path | None,
    cache: Path | None = None,
    seed: int | None = None,
    test: bool = False,
    limit_classes: int | None = None,
) -> Rows | DecodedCopy:
    """What the configuration opens; of a set that is large its decoded copy, which is kept below `place`.

    Without a place, or where a source has no stamp, there is no copy. `seed` is that of the split of a sensitive set,
    whose place is for its owner alone; `cache` is for the source. Raises InputError, also where the disk is full.
    """
    stamp = None if place is None else _stamp(config, test=test)
    if place is None or stamp is None:
        return _opened(config, cache, test, limit_classes)
    folder = place.resolve() / _key(config, seed=seed, test=test, limit_classes=limit_classes)
    found = _kept(folder, stamp)
    if found is not None:
        return found
    rows = _opened(config, cache, test, limit_classes)
    if len(rows.y) == 0 or not is_large(rows):
        return rows
    with on_disk(place):
        if seed is not None:
            private_folder(place.resolve().parent)
            private_folder(place.resolve())
        make_folder(folder)
        with _held(folder.with_suffix(".lock")):
            found = _kept(folder, stamp)
            if found is None:
                plan = plan_of(rows, stamp=stamp, seed=seed)
                copy = decode(rows, plan, folder=folder, left_out=config.left_out())
                found = _read(copy, stamp)
    if found is None or _stamp(config, test=test) != stamp:
        raise InputError(
            f"{folder}: the files of the set were changed while they were read; run the same command again"
        )
    return found


def _opened(config: SensitiveConfig | PublicConfig, cache: Path | None, test: bool, limit_classes: int | None) -> Rows:
    """What the source opens.

    Raises InputError for what the system does not let be read, and for a class whose name cannot be written later.
    """
    try:
        rows: Rows = config.open(cache=cache, test=test, limit_classes=limit_classes)
    except OSError as error:
        raise refusal(error, shown_path(error.filename or where(config, test=test)), "read") from None
    for name in rows.classes:
        if not is_text(name):
            raise InputError(
                f"{where(config, test=test)}: class '{one_line(name, most=200)}': its name is no valid text; give it "
                "one in UTF-8"
            )
    return rows


def is_large(rows: Rows) -> bool:
    """Whether all images, decoded, are more than is held in memory."""
    size, channels = getattr(rows, "size", None), getattr(rows, "channels", None)
    each = channels * size**2 if size and channels else rows.rows(np.arange(1)).size
    return len(rows.y) * each > sources.LARGE


def left_out_of(images: Images) -> tuple[bool, dict[str, int] | None]:
    """Whether these are of a decoded copy, and what was left out when it was made (see Source.left_out)."""
    x = images.x.of if isinstance(images.x, Chosen) else images.x
    facts = _facts(CopyFolder(path=x.folder)) if isinstance(x, Mapped) else None
    return (False, None) if facts is None else (True, facts.left_out)


def _stamp(config: SensitiveConfig | PublicConfig, *, test: bool) -> str | None:
    try:
        return config.stamp(test=test)
    except (OSError, ValueError):
        return None  # a file is not there, or there can be none of its name: opening the set says it better


def _key(config: SensitiveConfig | PublicConfig, *, seed: int | None, test: bool, limit_classes: int | None) -> str:
    """A name for the copy of a set by its configuration, which is public, and by what decodes it."""
    fields: dict[str, Any] = config.model_dump(mode="json", exclude=NOT_IN_KEY)
    for name in config.place:
        if fields.get(name) is not None:
            fields[name] = str(Path(fields[name]).expanduser().resolve())
    return digest([DECODING, PIL.__version__, fields, seed, test, limit_classes])[:16]


def _kept(folder: Path, stamp: str) -> DecodedCopy | None:
    """The copy in a folder that is of files with this stamp, and whole."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    found = (_read(CopyFolder(path=path), stamp) for path in there if not path.name.startswith("."))
    return next((copy for copy in found if copy is not None), None)


def _read(folder: CopyFolder, stamp: str) -> DecodedCopy | None:
    facts = _facts(folder)
    if facts is None:
        log.warning("%s: damaged; the set is decoded again", folder.path)
        return None
    if facts.plan.stamp != stamp:
        return None
    if not _is_whole(folder, facts):
        log.warning("%s: damaged; the set is decoded again", folder.path)
        return None
    return DecodedCopy(folder=folder, facts=facts)


def _facts(folder: CopyFolder) -> CopyFacts | None:
    try:
        raw = lines.parse(folder.facts.read_bytes().removesuffix(b"\n"))
        return None if raw is None else CopyFacts.model_validate_json(raw)
    except (OSError, ValueError):
        return None


def _is_whole(folder: CopyFolder, facts: CopyFacts) -> bool:
    """Whether the files are what was written, as far as a start looks at them."""
    plan = facts.plan
    try:
        if any(digest_of(folder.column(name)) != facts.digests.get(name) for name in small_files(plan)):
            return False
        if folder.images.stat().st_size != plan.widths[CopyFolder.IMAGES] * plan.shape[0]:
            return False
        marks = mapped(folder.marks, (len(plan.starts), MARK))
        some = np.unique(np.linspace(0, len(marks) - 1, LOOKED_AT).astype(np.int64))
        return all(plan.mark(folder, plan.starts[i]) == marks[i].tobytes() for i in some.tolist())
    except (OSError, InputError):
        return False


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold the lock of a copy; say so where another process has it."""
    with exclusive(lock, wait=False) as mine:
        if mine:
            yield
            return
    log.warning("%s: another process decodes the set; this one waits for it", lock.parent)
    with exclusive(lock):
        yield
