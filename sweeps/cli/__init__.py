"""The command line: one verb a question, one file a group of verbs. Exit 0 done, 2 the user's input, 1 our fault."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup
from typer.exceptions import TyperException

from privimage import __version__
from privimage.disk import FULL, refusal
from privimage.errors import InputError, PrivImageError
from privimage.sweeps import interrupt
from privimage.sweeps.cli import cache, clouds, ledger, look, render, results, schema, similarity, sweep
from privimage.sweeps.cli.terminal import Refused, complain, out, outlive_reader
from privimage.text import PLAIN


class Interrupted(Exception):
    """An interrupt in a verb, its cause: as it is, typer would make a number of it, and what it said were lost."""


class Verbs(TyperGroup):
    """All verbs; see Interrupted."""

    def invoke(self, ctx: Any) -> Any:
        """What a verb returns."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            raise Interrupted from stopped


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Differentially private synthetic images: one YAML file to a sweep on Ray, with the whole privacy bill.",
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"privimage {__version__}", **PLAIN)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


for verbs in (sweep, results, clouds, similarity, look, schema, render):
    app.add_typer(verbs.app)
app.add_typer(ledger.app, name="ledger")
app.add_typer(cache.app, name="cache")


def _explain(error: TyperException) -> None:
    """A command line that cannot be read, as one line; where nothing was asked, the help."""
    said, context = error.format_message(), getattr(error, "ctx", None)
    if isinstance(wrong := error.__context__, ValidationError):  # it names no value
        first, option = wrong.errors()[0], said.partition("'")[2].partition("'")[0]
        said = f"{option}: got '{first['input']}'; {first['msg'].removeprefix('Input ')}"
    if "\n" in said:
        print(said, file=sys.stderr)
    else:
        path = context.command_path if context is not None else "privimage"
        complain(f"privimage: {said.rstrip('.')}; see: {path} --help")


def main() -> None:
    """Run the command line; errors of the user end in one line and exit code 2, a signal in one line and 128 + it."""
    interrupts = interrupt.Interrupts()
    interrupts.install()
    outlive_reader()
    try:
        sys.exit(app(prog_name="privimage", standalone_mode=False) or 0)
    except TyperException as error:
        _explain(error)
        sys.exit(2)
    except (SystemExit, KeyboardInterrupt, Interrupted) as end:
        if interrupts.signum is None:
            raise
        complain(f"privimage: {interrupt.words(end)}")
        with suppress(OSError):  # its reader may be gone
            sys.stdout.flush()
        os._exit(interrupts.code)  # without Ray's exit handlers: they wait for processes that were signalled too
    except (InputError, Refused) as error:
        complain(f"privimage: {error}")
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in FULL:  # about no file of the user's
            raise
        where = error.filename2 or error.filename or "the disk"  # of a file that takes the place of another: that place
        complain(f"privimage: {refusal(error, where, 'read or written')}")
        sys.exit(2)
    except PrivImageError as error:
        complain(f"privimage: {error}")
        sys.exit(1)
