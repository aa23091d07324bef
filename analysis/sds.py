"""SDS: how alike the names of the labels are to those of the public classes that were selected (PrivImage, Eq. 5).

    SDS = sum_i sum_j f_i g_j cos(e(s_i), e(t_j))

over labels s_i and public classes t_j with their frequencies f and g, which sum to 1, and e the vector of a name: the
mean of its words' in a GloVe file, or what a small model that is installed makes of all of it. Labels are taken as
equally frequent: true numbers would be a count of sensitive images that nobody asked. Within a label, public classes
are as frequent as the selection weighs them. `by_label` is the same over the pairs of a label and what was
selected for it, which is what the published code takes the mean of (without frequencies).

All of it follows from noisy answers that were paid for, and from names, which are public: it costs no privacy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privimage.analysis.facts import Facts
from privimage.analysis.repetitions import Repetition, settings_apart
from privimage.disk import refusal
from privimage.errors import Damaged, InputError
from privimage.record import Record

KEY = "features.glove"
EMBEDDED = "wordllama"  # its wheel holds a model of 16 MB: nothing is downloaded
WordVectors = Mapping[str, NDArray[np.float64]]  # of words
Vector = NDArray[np.float64] | None
NameVectors = Callable[[str], Vector]  # of names: a unit vector, or None where nothing is known of one
SelectedNames = tuple[list[Record], list[str], list[dict[str, float]]]
Shares = Sequence[Mapping[str, float]]  # of every label: the classes that were selected for it, with their weights


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """SDS of one selection, how often it was repeated, and how many names had no known word and were left out."""

    named: str
    value: float
    by_label: float | None
    unknown: int


def words_of(name: str) -> list[str]:
    """The words in the name of a class, small; numbers stay, what only tells classes apart (n02123045) goes.

    >>> words_of("n02123045 tabby, tabby cat"), words_of("hair_slide"), words_of("7")
    (['tabby', 'tabby', 'cat'], ['hair', 'slide'], ['7'])
    """
    found: list[str] = re.findall(r"[^\W_]+", name.lower())
    return [word for word in found if not re.fullmatch(r"n\d{8}", word)]


def read_vectors(path: Path, *, names: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """The vectors of the words in these names, from a GloVe text file: a line a word, then its numbers.

    Raises InputError in one line if it cannot be read, is no such file, or knows none of the words.
    """
    wanted = {word for name in names for word in words_of(name)}
    found: dict[str, NDArray[np.float64]] = {}
    try:
        with path.open(encoding="utf-8") as file:
            size = 0
            for line in file:
                fields = line.split()
                size = size or _numbers(fields)
                if len(fields) <= size:
                    raise ValueError(line)
                word = " ".join(fields[:-size])  # in some files words hold spaces
                if word in wanted:
                    found[word] = np.array(fields[-size:], np.float64)
    except OSError as error:
        raise refusal(error, f"{KEY}: {path}", "read", fix="give the path of a GloVe file") from None
    except ValueError:
        raise InputError(f"{KEY}: {path}: no GloVe file: a line is a word and its numbers, as text") from None
    if not found or not all(np.isfinite(v).all() for v in found.values()):
        why = "knows none of the words of the classes" if not found else "has numbers that are not finite"
        raise InputError(f"{KEY}: {path}: {why}; expected a GloVe file: a word and its numbers on every line")
    return found


def _numbers(fields: Sequence[str]) -> int:
    """How many of the fields of the first line are numbers: the last ones, but for the word. Raises ValueError if
    there are none."""
    found = 0
    for value in reversed(fields[1:]):
        try:
            float(value)
        except ValueError:
            break
        found += 1
    if not found:
        raise ValueError("no numbers")
    return found


def by_words(vectors: WordVectors) -> NameVectors:
    """Of a name the mean of its words' vectors; None if no word of it is known."""
    return partial(_by_words, vectors)


def _by_words(vectors: WordVectors, name: str) -> Vector:
    known = [vectors[word] for word in words_of(name) if word in vectors]
    return _unit(np.mean(known, axis=0) if known else np.zeros(1))


def _unit(vector: NDArray[np.float64]) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector / length if length else None


def by_names() -> NameVectors:
    """Of a name what the embedded model of wordllama makes of all its words together.

    Raises InputError where that package is not installed.
    """
    if find_spec(EMBEDDED) is None:
        raise InputError(
            f"{KEY}: no word vectors; name a GloVe file by --vectors or by that key of the sweep, or "
            "pip install 'privimage[words]' for the small model that comes with it"
        )
    import wordllama  # here: an extra

    # it looks for its own tokenizer only where it would cache one
    inside = Path(wordllama.__file__).parent
    return partial(_by_names, wordllama.WordLlama.load(cache_dir=inside, disable_download=True))


def _by_names(model: Any, name: str) -> Vector:
    words = " ".join(words_of(name))
    return _unit(model.embed(words)[0].astype(np.float64)) if words else None


def similarity(labels: Sequence[str], selected: Shares, embed: NameVectors) -> tuple[float, float | None, int]:
    """(SDS, the same by label, names without a known word). Raises InputError if a whole side has none.

    `selected` has one entry a label; with one entry for all labels together there is no value by label.
    """
    mine = [embed(label) for label in labels]
    theirs = [{name: (embed(name), share) for name, share in row.items()} for row in selected]
    unknown = sum(e is None for e in mine) + sum(e is None for row in theirs for e, _ in row.values())
    pairs = [
        [(float(e @ t), share) for t, share in row.values() if t is not None]
        for e in mine if e is not None for row in theirs
    ]  # fmt: skip
    every = [pair for row in pairs for pair in row]
    if not every:
        raise InputError(f"{KEY}: no label, or no public class, has a word that is known")
    value = sum(c * share for c, share in every) / sum(share for _, share in every)
    if len(theirs) != len(mine):
        return value, None, unknown
    own = [
        float(np.average([e @ t for t, _ in known], weights=[share for _, share in known]))
        for e, row in zip(mine, theirs, strict=True)
        if e is not None and (known := [(t, share) for t, share in row.values() if t is not None])
    ]
    return value, float(np.mean(own)) if own else None, unknown


def names_in(found: Facts) -> set[str]:
    """The names of all labels and selected classes of a run."""
    return {
        name for _, labels, rows in _selections(found) for name in (*labels, *(name for row in rows for name in row))
    }


def of_run(found: Facts, embed: NameVectors, *, everything: Mapping[str, float]) -> list[Similarity]:
    """One line a selection, and one for `everything`: the whole public set, its classes with their frequencies.

    Raises InputError if no trial of the run has selected anything that may be shown.
    """
    having = _selections(found)
    if not having:
        raise InputError(f"{found.folder.path}: no method of it selects public classes, so there is nothing to compare")
    entries = [Repetition(record=records[0], found=found) for records, _, _ in having]
    apart = [path for path in settings_apart(entries) if path.startswith(("method.select", "method.query"))]
    lines = []
    for (records, labels, rows), entry in zip(having, entries, strict=True):
        settings = ", ".join(f"{path.removeprefix('method.')} {entry.settings.get(path)}" for path in apart)
        value, by_label, unknown = similarity(labels, rows, embed)
        methods = ", ".join(dict.fromkeys(record.method for record in records))  # that share the selection
        named = f"{methods} ({settings})" if settings else methods
        lines.append(Similarity(named=named, value=value, by_label=by_label, unknown=unknown))
    value, _, unknown = similarity(having[0][1], [everything], embed)
    whole = Similarity(named="all public classes", value=value, by_label=None, unknown=unknown)
    return [*dict.fromkeys(lines), whole]


def _selections(found: Facts) -> list[SelectedNames]:
    """Of every selection that may be shown: the records that have it, the labels, and what was selected for each."""
    having: dict[str, list[Record]] = {}
    for record in found.records:
        if record.private and "selection" in record.artefacts:
            having.setdefault(record.artefacts["selection"], []).append(record)
    return [(records, *shown) for key, records in having.items() if (shown := _shown(found, key)) is not None]


def _shown(found: Facts, key: str) -> tuple[list[str], list[dict[str, float]]] | None:
    try:
        artefact = found.store.get("selection", key)
    except Damaged:
        return None
    if artefact is None or artefact.manifest.privacy == "internal" or "counts" not in artefact.arrays:
        return None
    meta, counts = artefact.manifest.meta, artefact.arrays["counts"].clip(min=1.0)
    shares = counts / counts.sum(1, keepdims=True)
    rows = [dict(zip(names, row.tolist(), strict=True)) for names, row in zip(meta["selected"], shares, strict=True)]
    return list(meta["labels"]), rows
