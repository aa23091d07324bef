"""The verb on data: look."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from privimage.errors import InputError
from privimage.sweeps.cli.options import FileArgument, RootOption, SetOption, overrides
from privimage.sweeps.cli.terminal import out
from privimage.text import PLAIN

app = typer.Typer()


@app.command(epilog="Example: privimage look faces.yaml --private-counts")
def look(
    file: FileArgument,
    root: RootOption = Path("runs"),
    private_counts: Annotated[
        bool, typer.Option("--private-counts", help="Exact counts per class, PRIVATE: on a terminal only.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """What would be read: images, classes, splits, and what is left out. Asks and charges nothing.

    A folder has a directory for every class, and in it .png, .jpg, .jpeg, .bmp, .webp or .pgm. An image is turned
    upright, put on white where it is transparent, cut to the largest square in its middle, and resized to `size`.
    """
    from privimage.data.pair import load_data
    from privimage.paths import Root
    from privimage.sweeps.look import class_counts, read_lines, write_down
    from privimage.sweeps.sweep import Sweep

    if private_counts and not sys.stdout.isatty():
        raise InputError("--private-counts: shows exact counts of sensitive images, so only on a terminal; no file")
    loaded, runs = Sweep.load(file, set=overrides(set_)), Root.at(root)
    data = loaded.data
    public, sensitive = load_data(data, root=runs)
    for line in read_lines(data, public, sensitive):
        out.print(line, **PLAIN)
    if private_counts:
        write_down(loaded, root=runs)
        out.print("PRIVATE, no noise, no epsilon: do not write these counts down or pass them on", **PLAIN)
        table = Table("class", "train", "validation", "test")
        for row in class_counts(sensitive):
            table.add_row(*(escape(str(value)) for value in row))
        out.print(table)
