"""Keywords: a public set of which every image may carry several semantics, as a captioned set does (COCO, say).

A label is then a text that holds the words of an image, with a separator between them, wherever its source has labels:
a column of a CSV file or of a table, a field of a shard. The classes of such a set are the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privimage.data.config import PublicConfig, where
from privimage.data.load import load_public
from privimage.data.sets import Index, PublicSet
from privimage.errors import InputError
from privimage.schema import digest

LEAST = 2  # images that a word needs, to be learned from


@dataclass(frozen=True, kw_only=True)
class Captioned(PublicSet):
    """A public set with several semantics an image; `classes` are the words, `y` is the first word of each image.

    `texts` is the set as its source tells it: each different text is a class. The words of text t are
    `word[start[t] : start[t + 1]]`, each once.
    """

    texts: PublicSet
    start: NDArray[np.int64]
    word: NDArray[np.int64]

    @cached_property
    def fingerprint(self) -> str:
        """Sha-256 of pixels and words."""
        return digest({"images": self.texts.fingerprint, "texts": self.texts.classes})

    @cached_property
    def pairs(self) -> tuple[Index, NDArray[np.int64]]:
        """See `semantics_of`."""
        many = np.diff(self.start)[self.texts.y]
        first = np.cumsum(many) - many
        image = np.repeat(np.arange(len(self)), many)
        return image, self.word[np.arange(len(image)) - first[image] + self.start[self.texts.y][image]]


def semantics_of(public: PublicSet) -> tuple[Index, NDArray[np.int64]]:
    """Every semantic of every image: the places of the images in rising order, as often as needed, and the classes."""
    return public.pairs if isinstance(public, Captioned) else (np.arange(len(public)), public.y)


def members_of(public: PublicSet) -> list[Index]:
    """The images of every class, in rising order."""
    image, label = semantics_of(public)
    ends = np.cumsum(np.bincount(label, minlength=len(public.classes)))[:-1]
    return np.split(image[np.argsort(label, kind="stable")], ends)


def targets_of(public: PublicSet, index: Index) -> NDArray[np.int64] | NDArray[np.float32]:
    """What a network that tells the semantics of these images should say, for torch's `cross_entropy`.

    Classes [B] where each image has one. Else probabilities [B, classes], as large for each of its words (Mahajan et
    al. 2018): minus the mean of log p over them is the paper's Eq. 4, each image counting once.
    """
    if not isinstance(public, Captioned):
        return public.y[index]
    target = np.zeros((len(index), len(public.classes)), np.float32)
    for row, text in zip(target, public.texts.y[index], strict=True):
        words = public.word[public.start[text] : public.start[text + 1]]
        row[words] = 1 / len(words)
    return target


def load_described(config: PublicConfig, *, cache: Path) -> PublicSet:
    """The public set, with several semantics an image where the file names a separator. Raises InputError."""
    found = load_public(config, cache=cache)
    if config.separator is None:
        return found
    try:
        return captioned(found, separator=config.separator, keywords=config.keywords)
    except InputError as error:
        raise InputError(f"{where(config)}: {error}") from None


def captioned(texts: PublicSet, *, separator: str, keywords: tuple[str, ...] | None = None) -> Captioned:
    """The same images by the words in their labels; `keywords` are those that there may be, None: all that there are.

    Raises InputError for an image without a word, an unknown word, and a word of fewer than LEAST images.
    """
    told = [list(dict.fromkeys(filter(None, map(str.strip, text.split(separator))))) for text in texts.classes]
    classes = keywords or tuple(sorted({word for words in told for word in words}))
    place = {word: i for i, word in enumerate(classes)}
    for text, words in zip(texts.classes, told, strict=True):
        if not words:
            raise InputError(f"label '{text:.80}': has no keyword; give its images one, or leave them out")
        unknown = next((word for word in words if word not in place), None)
        if unknown is not None:
            raise InputError(
                f"label '{text:.80}': '{unknown:.80}' is none of the {len(classes)} keywords; correct it, or give all "
                "in `keywords`"
            )
    start = np.concatenate([[0], np.cumsum([len(words) for words in told])]).astype(np.int64)
    word = np.array([place[word] for words in told for word in words], np.int64)
    found = Captioned(
        x=texts.x, y=word[start[texts.y]], name=texts.name, classes=classes, texts=texts, start=start, word=word
    )
    counts = np.bincount(found.pairs[1], minlength=len(classes))
    if counts.min() < LEAST:
        rare = int(np.argmin(counts))
        raise InputError(
            f"keyword '{classes[rare]:.80}' has fewer than {LEAST} images ({counts[rare]}), too few to be learned "
            f"from, and so have {int((counts < LEAST).sum()) - 1} others; leave them out of the labels"
        )
    return found
