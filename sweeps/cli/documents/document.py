"""Document: one JSON object that a verb prints in place of its text. It says nothing that the text may not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from privimage.schema import Frozen
from privimage.sweeps.cli.terminal import out
from privimage.text import PLAIN


class Document(Frozen):
    """What all documents have: `format`, a number that is raised when a field changes its name or its meaning.

    `statement` are the sentences to state beside whatever is shown; `warnings` say what does not hold.
    """

    format: Literal[1] = 1
    statement: tuple[str, ...]
    warnings: tuple[str, ...]


def put(document: Document) -> None:
    """Print the document on standard output, whatever the width of the terminal."""
    out.print(document.model_dump_json(indent=1), emoji=False, **PLAIN)


def parted(sentences: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what is stated, what is warned of).

    >>> parted(["State epsilon 1 beside it.", "WARNING: it does not hold."])
    (('State epsilon 1 beside it.',), ('WARNING: it does not hold.',))
    """
    warned = tuple(sentence for sentence in sentences if sentence.startswith("WARNING"))
    return tuple(sentence for sentence in sentences if sentence not in warned), warned
