"""A progress bar for public work and for reading files: only on a terminal, only when it takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 5.0


def tracked(items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
    """The same items. After five seconds on a terminal, a bar on stderr shows the share that is done."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # here, because most runs never show a bar
    from rich.progress import Progress

    start = time.monotonic()
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)
    try:
        for item in items:
            bar.advance(task)
            if not bar.live.is_started and time.monotonic() - start > PATIENCE_SECONDS:
                bar.start()
            yield item
    finally:
        bar.stop()
