"""What several verbs take: a run, a sweep by its file and fields of it, the folder of all runs; and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape, glob
from pathlib import Path
from typing import Annotated, Any

import typer

from privimage.errors import InputError
from privimage.plain_yaml import is_text, one_line, read_value
from privimage.sweeps import recipe
from privimage.sweeps.cli.terminal import complain, local, out
from privimage.text import PLAIN

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", parser=local("RUN"), help="Folder of a run, e.g. runs/demo.")
]
RunsArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN", parser=local("RUN"), help="Folders of runs, e.g. runs/demo.")
]


def _sweeps(incomplete: str) -> list[str]:
    """For a shell's completion: recipes, and files and folders as far as they are typed."""
    here = sorted(glob(f"{escape(incomplete)}*"))
    named = [name for name in recipe.names() if name.startswith(incomplete)]
    return [*named, *(f"{p}/" if Path(p).is_dir() else p for p in here if Path(p).is_dir() or p.endswith(".yaml"))]


FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE.yaml",
        parser=local("FILE.yaml"),
        help="The sweep, or the name of a shipped recipe.",
        autocompletion=_sweeps,
    ),
]
RootOption = Annotated[
    Path,
    typer.Option(
        "--root", parser=local("--root"), help="Folder of all runs, their store and their ledgers; or s3://.."
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace one dotted field of the file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for programs.")]


def overrides(pairs: list[str] | None) -> dict[str, Any]:
    """Dotted fields and their YAML values. Raises InputError if there is no '=', or a field is given twice."""
    values: dict[str, Any] = {}
    for pair in pairs or []:
        dotted, equals, text = pair.partition("=")
        if not equals or not dotted:
            raise InputError(f"--set: got '{pair}'; expected KEY=VALUE, e.g. --set method.query.sigma=10")
        if not is_text(pair):
            raise InputError(f"--set: got '{one_line(pair, most=200)}'; it is not UTF-8")
        if dotted in values:
            raise InputError(f"--set {dotted}: given twice; give it once")
        values[dotted] = read_value(text, where=f"--set {dotted}")
    return values


def say(sentences: Sequence[str]) -> None:
    """Print sentences, warnings to the error stream."""
    for sentence in sentences:
        if warns(sentence):
            complain(sentence)
        else:
            out.print(sentence, **PLAIN)


def warns(sentence: str) -> bool:
    """Whether the sentence is a warning, for the error stream."""
    return sentence.startswith("WARNING")
