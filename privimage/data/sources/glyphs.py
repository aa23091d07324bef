"""The embedded public set: glyphs drawn from the fonts in pretix-fontpack-free, one character = one class.

Drawn once (half a minute on two cores) and kept as one npz file under a cache folder. The file's name is a
digest of everything that determines the pixels; its content carries its own digest, and a file that does not
match is drawn again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import unicodedata
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import features
from pydantic import Field

from privimage.data.sources.glyph_render import BOX, POINTS, SIDE, Drawn, draw_faces
from privimage.data.sources.source import InMemory, SetRole, Source
from privimage.errors import InputError
from privimage.progress import tracked
from privimage.schema import digest

RECIPE = 1  # raise it when a change in this file or in glyph_render changes pixels or classes
PACKAGE = "pretix-fontpack-free"

log = logging.getLogger(__name__)


def read_glyphs(
    *, cache: Path, min_images: int, limit_classes: int | None = None, _faces: Sequence[Path] | None = None
) -> InMemory:
    """Grey 28 x 28 images of every character with at least `min_images` distinct ones, classes by code point.

    `limit_classes` draws only that many characters, the first; those whose faces are too alike are left out.
    `_faces` (for tests) replaces the fonts of the package.
    """
    faces = sorted(_faces) if _faces is not None else font_files()
    path = cache / f"glyphs-{_key(faces, min_images, limit_classes)[:16]}.npz"
    drawn = _read(path)
    if drawn is None:
        drawn = _distinct(_draw(faces, min_images, limit_classes), min_images)
        if len(drawn[0]) == 0:
            raise InputError(f"data.public.min_images: got {min_images}; no character has so many distinct images")
        _write(path, drawn)
    codes, y = np.unique(drawn[0], return_inverse=True)
    classes = tuple(f"{chr(code)} U+{code:04X}" for code in codes)
    return InMemory(x=drawn[1][:, None], y=y.astype(np.int64), classes=classes)


class Glyphs(Source):
    """Characters drawn from the fonts of the package; below `min_images` distinct pictures one is left out."""

    min_images: int = Field(default=10, ge=1)  # distinct pictures of a character, at least

    what: ClassVar[str] = "characters drawn from free fonts, one character a class"
    roles: ClassVar[tuple[SetRole, ...]] = ("public",)
    own_shape: ClassVar[tuple[int, int] | None] = (1, SIDE)
    n_train: ClassVar[int | None] = 36_336

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> InMemory:
        """See Source. Drawn once, and kept under `cache`."""
        if cache is None:
            raise InputError("data.public.name: glyphs are drawn into a folder, and none is given")
        drawn = read_glyphs(cache=cache, min_images=self.min_images, limit_classes=limit_classes)
        return replace(drawn, size=self.size, channels=self.channels)


MEMBERS = {"glyphs": Glyphs}


def font_files() -> list[Path]:
    """The TrueType files of the font package, sorted."""
    spec = importlib.util.find_spec("pretix_fontpackfree")
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    files = sorted(file for folder in folders for file in Path(folder, "static").rglob("*.ttf"))
    if not files:
        raise InputError(f"data.public.name: glyphs needs the package {PACKAGE}; install it with pip")
    return files


def usable(code: int) -> bool:
    """Whether a code point is a shape of its own: a letter, number, symbol or mark of punctuation.

    Left out: modifier letters, what decomposes (accents, ligatures), box drawing, braille, Hangul and all but
    150 Han.
    """
    character = chr(code)
    category = unicodedata.category(character)
    return (
        category[0] in "LNSP"
        and category != "Lm"
        and unicodedata.normalize("NFKD", character) == character
        and not 0x2500 <= code < 0x2580
        and not 0x2800 <= code < 0x2900
        and (code < 0x3400 or 0x4E00 <= code < 0x4E00 + 150)
    )


def _key(faces: Sequence[Path], min_images: int, limit_classes: int | None) -> str:
    versions = [importlib.metadata.version(PACKAGE), importlib.metadata.version("pillow")]
    versions += [str(features.version("freetype2")), unicodedata.unidata_version]
    names = [face.name for face in faces]
    return digest([RECIPE, versions, SIDE, BOX, POINTS, min_images, limit_classes, names])


def _draw(faces: Sequence[Path], min_images: int, limit_classes: int | None) -> Drawn:
    """Code points and images of every character that at least `min_images` faces claim to have."""
    from fontTools.ttLib import TTFont  # here, because a cache hit does not need it

    covered = []
    for face in faces:
        with TTFont(face, lazy=True) as font:
            covered.append(sorted(code for code in font.getBestCmap() if usable(code)))
    count = Counter(code for codes in covered for code in codes)
    wanted = set(sorted(code for code, n in count.items() if n >= min_images)[:limit_classes])
    jobs = [(face, [code for code in codes if code in wanted]) for face, codes in zip(faces, covered, strict=True)]
    jobs = [job for job in jobs if job[1]]
    drawn = list(tracked(draw_faces(jobs), total=len(jobs), label="drawing glyphs (once)")) if jobs else []
    if not drawn:
        return np.empty(0, np.int32), np.empty((0, SIDE, SIDE), np.uint8)
    return np.concatenate([codes for codes, _ in drawn]), np.concatenate([images for _, images in drawn])


def _distinct(drawn: Drawn, min_images: int) -> Drawn:
    """By code point, without exact duplicates within a class and without classes that are then too small."""
    order = np.argsort(drawn[0], kind="stable")
    codes, images = drawn[0][order], drawn[1][order]
    seen: set[tuple[int, bytes]] = set()
    keep = np.zeros(len(codes), bool)
    for i, (code, image) in enumerate(zip(codes.tolist(), images, strict=True)):
        key = (code, image.tobytes())
        keep[i] = key not in seen
        seen.add(key)
    codes, images = codes[keep], images[keep]
    found, count = np.unique(codes, return_counts=True)
    large = np.isin(codes, found[count >= min_images])
    return codes[large], images[large]


def _read(path: Path) -> Drawn | None:
    """What the cache file holds, or None when there is none or it is damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            codes, images, stored = file["codes"], file["images"], str(file["digest"])
        if stored == _content_digest(codes, images):
            return codes, images
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # the same as a wrong digest
    log.warning("%s: damaged cache file, drawing the glyphs again", path)
    return None


def _write(path: Path, drawn: Drawn) -> None:
    """None: writes the cache file so that another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, codes=drawn[0], images=drawn[1], digest=np.array(_content_digest(*drawn)))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _content_digest(codes: NDArray[np.int32], images: NDArray[np.uint8]) -> str:
    h = hashlib.sha256(repr((codes.shape, images.shape, codes.dtype.str, images.dtype.str)).encode())
    h.update(np.ascontiguousarray(codes).tobytes())
    h.update(np.ascontiguousarray(images).tobytes())
    return h.hexdigest()
