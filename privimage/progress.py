"""Progress: how far something is, as one type, and a bar for what shows nothing else. A sweep has its own display."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from privimage.schema import Frozen

T = TypeVar("T")
PATIENCE_SECONDS = 5.0
Tell = Callable[[int, int], None]  # (steps done, steps in all): what a loop is given, which knows no stage


class Progress(Frozen):
    """How far a stage is: `done` steps of `total`, which is 0 where it does not tell."""

    stage: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        return self.stage + (f" {100 * self.done // self.total}%" if self.total else "")


def silent(done: int, total: int) -> None:
    """Nothing: nobody watches."""


@contextmanager
def bar(label: str) -> Iterator[Tell]:
    """What a loop is given to tell: after five seconds on a terminal, a bar on stderr shows the share that is done."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich import progress  # here, because most runs never show a bar
    from rich.console import Console

    start, shown = time.monotonic(), progress.Progress(console=Console(stderr=True), transient=True)
    task = shown.add_task(label, total=None)

    def tell(done: int, total: int) -> None:
        shown.update(task, completed=done, total=total)
        if not shown.live.is_started and time.monotonic() - start > PATIENCE_SECONDS:
            shown.start()

    try:
        yield tell
    finally:
        shown.stop()


def tracked(items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
    """The same items, with a bar."""
    with bar(label) as tell:
        for done, item in enumerate(items):
            tell(done + 1, total)
            yield item
