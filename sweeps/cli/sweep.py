"""The verbs on a sweep that runs or could run: sweep, plan, status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privimage.errors import InputError, NotDone
from privimage.progress import bar
from privimage.sweeps.cli.options import (
    FileArgument,
    JsonOption,
    RootOption,
    RunArgument,
    SetOption,
    overrides,
    say,
)
from privimage.sweeps.cli.terminal import complain, err, out
from privimage.text import PLAIN

if TYPE_CHECKING:
    from privimage.sweeps.estimate import Estimate
    from privimage.sweeps.plan import Plan

app = typer.Typer()


@app.command(epilog="Example: privimage sweep demo.yaml --set trials=4")
def sweep(
    file: FileArgument,
    root: RootOption = Path("runs"),
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Ray cluster, or auto; this machine if absent.")
    ] = None,
    set_: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run a sweep, or what is left of it: the same command after a crash goes on where it was."""
    from privimage.sweeps.api import run
    from privimage.sweeps.sweep import Sweep

    try:
        folder = run(Sweep.load(file, set=overrides(set_)), root=root, address=address, quiet=quiet).files.path
    except NotDone as error:
        for line in (*(f"failed: {line}" for line in error.failures), str(error)):
            complain(line)
        raise typer.Exit(1) from None
    out.print(f"{folder}: done. Look at it: privimage report {folder}", **PLAIN)


@app.command(
    epilog="Example: privimage plan demo --set tuning.mode=select --set 'objectives={\"dp-accuracy[cnn]\": max}'"
)
def plan(
    file: FileArgument,
    root: RootOption = Path("runs"),
    set_: SetOption = None,
    no_estimate: Annotated[bool, typer.Option("--no-estimate", help="Do not time the stages here.")] = False,
    json: JsonOption = False,
) -> None:
    """What a sweep would ask, cost and take, before anything is asked: opens no sensitive data, charges nothing."""
    from privimage.sweeps import api
    from privimage.sweeps.sweep import Sweep

    loaded = Sweep.load(file, set=overrides(set_))
    with err.status("calibrating the noise", spinner="line"):
        made = api.plan(loaded, root=root)
    if json:
        from privimage.sweeps.cli.documents import document
        from privimage.sweeps.cli.documents.plan import plan_document

        document.put(plan_document(made, told=_estimated(made, wanted=not no_estimate)))
        if made.refused:
            complain(f"REFUSED: {made.why}")
    else:
        from privimage.sweeps.cli.plan_view import show

        show(made, out)
        told = _estimated(made, wanted=not no_estimate)
        if told is not None:
            out.print()
            out.print(told if isinstance(told, str) else told.sentence(), **PLAIN)
    if made.refused:
        raise typer.Exit(2)


def _estimated(made: Plan, *, wanted: bool) -> Estimate | str | None:
    """How long it takes, or why that is not known; None of a sweep that is refused, or where nobody asks."""
    if made.refused or not wanted:
        return None
    from privimage.sweeps.estimate import estimate

    with bar("timing a few steps of every stage on random images") as advance:
        return estimate(made, tell=advance)


@app.command(epilog="Examples: privimage status runs/demo; privimage status runs/demo --watch")
def status(
    run: RunArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep showing it until the sweep ends; Ctrl-C stops looking, not the sweep.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """How far a run is: trials done of every row, what runs now, the time left, and the price of all it may ask."""
    from privimage.analysis import facts, price
    from privimage.analysis.results import Run
    from privimage.sweeps import progress
    from privimage.sweeps.cli import watch as watching

    if watch and json:
        raise InputError("--json: got it with --watch; one document is printed: ask for it as often as you like")
    files = Run(run).files
    if watch:
        watching.watch(files)
        return
    found = facts.begun(files)
    now = progress.of_run(files, found.records, mode=found.bill.mode)
    if json:
        from privimage.sweeps.cli.documents import document
        from privimage.sweeps.cli.documents.status import status_document

        document.put(status_document(found, now))
        return
    say(price.opening(found))
    for line in progress.by_method(found.records) if now is None else now.lines():
        out.print(line, **PLAIN)
    for line in watching.results(found):
        out.print(line, **PLAIN)
    say(price.terms(found))
