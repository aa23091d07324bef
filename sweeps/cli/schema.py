"""The verb on the form of a sweep file: schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privimage.disk import write_whole
from privimage.sweeps.cli.terminal import local, out
from privimage.text import PLAIN

app = typer.Typer()
FIRST = "# yaml-language-server: $schema="  # of a sweep file, for editors


@app.command(epilog="Example: privimage schema --to schema.json")
def schema(
    to: Annotated[Path | None, typer.Option(parser=local("--to"), help="A file; printed if absent.")] = None,
) -> None:
    """A JSON Schema of the sweep file, for editors: keys, values, defaults and help, your plug-ins' included."""
    from privimage.sweeps.json_schema import sweep_schema

    text = json.dumps(sweep_schema(), indent=1) + "\n"
    if to is None:
        out.print(text, end="", **PLAIN)
    else:
        write_whole(to, text)
        out.print(f"{to}: written. For an editor, the first line of a sweep: {FIRST}{to}", **PLAIN)
