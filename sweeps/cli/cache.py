"""The commands on a store: what it holds, whether it is whole, and what may go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from privimage.errors import InputError
from privimage.sweeps.cli.terminal import complain, local, out
from privimage.text import PLAIN, count, duration

if TYPE_CHECKING:
    from privimage.stores.file import FileStore

app = typer.Typer(
    no_args_is_help=True, help="The artefacts of a root: what there is, whether it is whole, making room."
)

RootArgument = Annotated[Path, typer.Argument(metavar="ROOT", parser=local("ROOT"), help="E.g. runs.")]


@app.command(epilog="Example: privimage cache ls runs")
def ls(root: RootArgument) -> None:
    """Artefacts by kind and privacy class: how many, how large, when the oldest was made, when one was last used."""
    from privimage.stores import inventory

    store, now = _store(root), time.time()
    found = list(inventory.items(store))
    table = Table("kind", "privacy", "artefacts", "MiB", "oldest", "last used")
    for total in inventory.totals(found):
        ages = (f"{duration(max(0.0, now - at))} ago" for at in (total.made, total.used))
        table.add_row(*map(Text, (total.kind, total.privacy, str(total.count), _mib(total.bytes), *ages)))
    out.print(table)
    out.print(
        f"{count(len(found), 'artefact')}, {_mib(sum(item.bytes for item in found))} MiB in {store.root}", **PLAIN
    )


@app.command(epilog="Example: privimage cache verify runs")
def verify(root: RootArgument) -> None:
    """Check seals and hashes of all artefacts; exits with 1 where one is damaged, and says what mends it."""
    from privimage.stores import inventory

    store = _store(root)
    number, damaged = inventory.verify(store)
    for damage in damaged:
        complain(f"{damage.what}; {damage.fix}")
    out.print(f"{store.root}: {count(number, 'artefact')}, {len(damaged)} of them damaged", **PLAIN)
    if damaged:
        raise typer.Exit(1)


@app.command(epilog="Example: privimage cache gc runs --to 20G --yes")
def gc(
    root: RootArgument,
    to: Annotated[str, typer.Option(metavar="BYTES", help="How much may be left, e.g. 500M or 20G.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; else only say what would go.")] = False,
) -> None:
    """Make room: the public artefacts that were not used for longest go. Never what was paid for or is internal.

    Of a root that is a bucket any copy here may go: the bucket has it.
    """
    from privimage.stores import inventory
    from privimage.stores.room import size as bytes_of

    store, most = _store(root), bytes_of(to, named="--to")
    gone = inventory.unneeded(store, to=most)
    for item in gone:
        out.print(f"{item.manifest.kind}/{item.manifest.key[:12]}: {_mib(item.bytes)} MiB", **PLAIN)
    if yes:
        gone = inventory.remove(store, gone)
    size = sum(item.bytes for item in gone)
    did, how = ("removed", "") if yes else ("would remove", "; do it: --yes")
    out.print(f"{store.root}: {did} {count(len(gone), 'artefact')}, {_mib(size)} MiB{how}", **PLAIN)
    left = sum(item.bytes for item in inventory.items(store)) - (0 if yes else size)
    if left > most:
        why = "what the bucket has lost stays" if store.copies else "what was paid for or is internal is never removed"
        out.print(f"{_mib(left)} MiB stay, more than {to}: {why}", **PLAIN)


def _store(root: Path) -> FileStore:
    from privimage.paths import Root
    from privimage.stores.file import FileStore
    from privimage.stores.open import open_store

    if root.is_file() or not Root.at(root).store.is_dir():
        raise InputError(f"ROOT: got '{root}', which has no store; expected the folder of all runs, e.g. runs")
    store = open_store(Root.at(root).store)
    if not isinstance(store, FileStore):
        raise InputError(f"ROOT: got '{root}', whose store is none of privimage's own")
    return store


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"
