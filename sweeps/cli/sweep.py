"""The verbs on a sweep that runs or could run: sweep, plan, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privimage.errors import NotDone
from privimage.progress import bar
from privimage.sweeps.cli.options import (
    FileArgument,
    RootOption,
    RunArgument,
    SetOption,
    overrides,
    say,
)
from privimage.sweeps.cli.terminal import complain, err, out
from privimage.text import PLAIN

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
) -> None:
    """What a sweep would ask, cost and take, before anything is asked: opens no sensitive data, charges nothing."""
    from privimage.sweeps import api
    from privimage.sweeps.cli.plan_view import show
    from privimage.sweeps.sweep import Sweep

    loaded = Sweep.load(file, set=overrides(set_))
    with err.status("calibrating the noise", spinner="line"):
        made = api.plan(loaded, root=root)
    show(made, out)
    if not made.refused and not no_estimate:
        from privimage.sweeps.estimate import estimate

        with bar("timing a few steps of every stage on random images") as advance:
            told = estimate(made, tell=advance)
        out.print()
        out.print(told if isinstance(told, str) else told.sentence(), **PLAIN)
    if made.refused:
        raise typer.Exit(2)


@app.command(epilog="Example: privimage status runs/demo")
def status(run: RunArgument) -> None:
    """How far a run is: trials done of every row, what runs now, the time left, and the price of all it may ask."""
    from privimage.analysis import facts, price
    from privimage.analysis.results import Run
    from privimage.sweeps import progress

    found = facts.begun(Run(run).files)
    say(price.opening(found))
    now = progress.read(found.folder)
    for line in progress.by_method(found.records) if now is None else now.lines():
        out.print(line, **PLAIN)
    say(price.terms(found))
