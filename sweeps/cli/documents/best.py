"""The document of `best`: which generator was pulled, whereto, and what has to be stated beside it."""

from __future__ import annotations

from typing import Literal

from privimage.analysis.bundle import CARD
from privimage.analysis.synthesise import Bundle
from privimage.privacy.guarantee import Guarantee
from privimage.sweeps.cli.documents.document import Document, parted


class BestDocument(Document):
    """`folder` now holds the generator; `card` is its card, with everything that is said of it."""

    document: Literal["best"] = "best"
    run: str
    folder: str
    card: str
    trial: str
    method: str
    size: str
    classes: tuple[str, ...]
    guarantee: Guarantee


def best_document(pulled: Bundle, *, run: str, spend: list[str]) -> BestDocument:
    """What was pulled of the run, with the warnings among what is said of its spend."""
    config = pulled.config
    return BestDocument(
        run=run,
        statement=(pulled.guarantee.sentence, pulled.guarantee.why),
        warnings=parted(spend)[1],
        folder=str(pulled.path),
        card=str(pulled.path / CARD),
        trial=config.trial,
        method=config.method,
        size=config.size,
        classes=config.classes,
        guarantee=pulled.guarantee,
    )
