"""The commands on a ledger: what was paid, whether the file is whole, and the most that may ever be paid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from privimage.errors import InputError
from privimage.sweeps.cli.options import FileArgument, JsonOption, RootOption
from privimage.sweeps.cli.terminal import local, out
from privimage.text import PLAIN

app = typer.Typer(no_args_is_help=True, help="What was paid on a sensitive set, by any run, and the cap on it.")

LedgerArgument = Annotated[
    Path, typer.Argument(metavar="LEDGER", parser=local("LEDGER"), help="E.g. runs/ledgers/digits-v1.jsonl.")
]
HEADS = {
    "agrees": "and the head knows of all of them",
    "lags": "the head lags by the last one, whose writer was killed: it counts, and the next charge puts it right",
    "missing": "but no head: truncation cannot be excluded",
}


@app.command(epilog="Example: privimage ledger show runs/ledgers/digits-v1.jsonl --delta 1e-6")
def show(
    path: LedgerArgument,
    delta: Annotated[float | None, typer.Option(help="Of the totals; that of the cap if absent, else 1e-5.")] = None,
    details: Annotated[bool, typer.Option("--details", help="Also the totals by other rules, and by order.")] = False,
    json: JsonOption = False,
) -> None:
    """Every charge and look, the epsilon that is spent, and what is left of the cap."""
    from privimage.privacy import statement
    from privimage.privacy.ledger import Ledger

    if delta is not None and not 0 < delta < 1:
        raise InputError(f"--delta: got {delta:g}; expected a number between 0 and 1, e.g. 1e-5")
    ledger = Ledger(_existing(path))
    if json:
        from privimage.sweeps.cli.documents import document
        from privimage.sweeps.cli.documents.ledger import ledger_document

        document.put(ledger_document(ledger, delta=delta, details=details))
        return
    table = Table(*statement.ROW)
    for row in statement.rows(ledger.lines()):
        table.add_row(*map(Text, row))  # "[" in a name is no markup
    out.print(table)
    said = [*statement.sentences(ledger, delta=delta), *(statement.details(ledger, delta=delta) if details else ())]
    for sentence in said:
        _say(sentence)


@app.command(epilog="Example: privimage ledger verify runs/ledgers/digits-v1.jsonl")
def verify(path: LedgerArgument) -> None:
    """Check that nothing was lost or changed and the cap was kept; else exits with 2 and names the line."""
    from privimage.privacy.ledger import Ledger

    ledger = Ledger(_existing(path))
    head = ledger.verify()
    cap = ledger.cap()
    kept = "no cap is set" if cap is None else f"the cap {cap.budget} is kept"
    lines = ledger.lines()
    _say(f"{path}: {len(lines)} lines, {len(ledger.charges())} of them charges; chain intact, {HEADS[head]}; {kept}")


@app.command(epilog="Example: privimage ledger cap runs/ledgers/digits-v1.jsonl --epsilon 20 --delta 1e-5")
def cap(
    path: LedgerArgument,
    epsilon: Annotated[float, typer.Option(help="The most that all runs together may ever cost.")],
    delta: Annotated[float, typer.Option(help="At this delta.")],
    no_diagnostics: Annotated[
        bool, typer.Option("--no-diagnostics", help="Also refuse, for ever, every use without noise (FID, real, ..).")
    ] = False,
) -> None:
    """Set the cap of a sensitive set, once, for its lifetime; best before the first run. The same again is free."""
    from privimage.privacy.budget import Budget
    from privimage.privacy.ledger import Ledger
    from privimage.schema import parse

    budget = parse(Budget, {"epsilon": epsilon, "delta": delta}, where="cap")
    ledger = Ledger(_named(path))
    others = [] if path.exists() else sorted(other.stem for other in path.parent.glob("*.jsonl"))
    new = ledger.set_cap(budget)
    if others:
        _say(f"{path}: a new ledger; nothing was ever asked of a set with this id (there are {', '.join(others)})")
    _say(f"{path}: the cap {budget} {'is set' if new else 'was set before'}, for the lifetime of the set")
    if no_diagnostics:
        forbidden = "are refused from now on" if ledger.forbid_looks() else "were refused before"
        _say(f"{path}: looks without noise {forbidden}: FID, accuracy, and rows without privacy")


@app.command(epilog="Example: privimage ledger close runs/ledgers/digits-v1.jsonl 3f2a9c01")
def close(
    path: LedgerArgument,
    reservation: Annotated[str, typer.Argument(metavar="ID", help="As `show` prints it; its first digits are enough.")],
) -> None:
    """Give back what a sweep that will not be finished had reserved: only what it was charged counts from then on."""
    from privimage.privacy.ledger import Ledger

    ledger = Ledger(_existing(path))
    open_ = [line.id for line in ledger.reservations()]
    found = [id for id in open_ if id.startswith(reservation)]
    if len(found) != 1:
        names = ", ".join(id[:12] for id in open_) or "none"
        raise InputError(f"ID: got '{reservation}', which names {len(found)} open reservations; open: {names}")
    ledger.close(found[0])
    _say(f"{path}: the reservation {found[0][:12]} is closed")


@app.command(epilog="Example: privimage ledger adopt runs/ledgers/digits-v1.jsonl --list")
def adopt(
    path: LedgerArgument,
    list_: Annotated[bool, typer.Option("--list", help="Only say what would be charged.")] = False,
) -> None:
    """Charge again what answers in the store and records say was paid, where the ledger lost it; a cap holds."""
    from privimage import reconcile
    from privimage.paths import Root
    from privimage.privacy import statement

    if _named(path).parent.name != Root.LEDGERS:
        raise InputError(f"{path}: expected ROOT/ledgers/ID.jsonl, so that the store beside it is known")
    root, id = Root(path=path.parent.parent), path.stem
    receipts = reconcile.missing(root, id)
    for charge in reconcile.wholes(receipts).values():
        _say(f"{'would charge' if list_ else 'charges'}: {charge.what}: {statement.describe(charge.events)}")
    if list_:
        _say(f"{path}: {len(reconcile.wholes(receipts))} charges are missing; nothing was written")
    else:
        _say(f"{path}: {reconcile.adopt(root, id, receipts)} charges were added")


@app.command(name="adopt-data", epilog="Example: privimage ledger adopt-data faces.yaml --root runs")
def adopt_data(
    file: FileArgument,
    root: RootOption = Path("runs"),
    same: Annotated[bool, typer.Option("--same", help="They are those that were asked; the proof is lost.")] = False,
) -> None:
    """Let the id of a set stand for the images as they are now: all is asked anew, and epsilons add for who is in both.

    Images that were adopted before are found again. With --same, where the file that knows them is lost, you say that
    they are the same: what was paid for stays paid for. Nothing is charged.
    """
    from privimage.data import SensitiveConfig, load_sensitive
    from privimage.paths import Root
    from privimage.privacy.contents import Contents
    from privimage.sweeps.sweep import Sweep

    config = Sweep.load(file).data.sensitive
    if not isinstance(config, SensitiveConfig):
        raise InputError(f"{file}: data.sensitive: is a public stand-in, whose images may change")
    runs = Root.at(root)
    content = load_sensitive(config, place=runs.decoded(config.id)).content
    revision = Contents(runs, config.id).adopt(content, same=same)
    _say(f"{config.id}: these images are revision {revision}; nothing was charged")


def _existing(path: Path) -> Path:
    from privimage.privacy.book import Book

    if not path.is_file() and (path.suffix != ".jsonl" or path.is_dir() or not Book(path).lines()):
        raise InputError(f"{path}: no such ledger")  # one in a bucket has a copy here once it was read
    return _named(path)


def _named(path: Path) -> Path:
    """The path, if it is named as a ledger: beside any other name there is no head that could be compared."""
    if path.suffix != ".jsonl":
        raise InputError(f"{path}: expected the ledger of a set, e.g. runs/ledgers/digits-v1.jsonl")
    return path


def _say(sentence: str) -> None:
    out.print(sentence, **PLAIN)
