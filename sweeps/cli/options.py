"""What several verbs take and say: the folder of runs, a sweep by its file, fields of it, sentences, a bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from privimage.errors import InputError
from privimage.paths import Root, RunFolder
from privimage.plain_yaml import read_value
from privimage.sweeps.cli.terminal import complain, local, out
from privimage.text import PLAIN

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", parser=local("RUN"), help="Folder of a run, e.g. runs/demo.")
]
FileArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE.yaml", parser=local("FILE.yaml"), help="The sweep, or the name of a shipped recipe."),
]
RootOption = Annotated[
    Path, typer.Option("--root", parser=local("--root"), help="Folder of all runs, their store and their ledgers.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace one dotted field of the file.")
]


def overrides(pairs: list[str] | None) -> dict[str, Any]:
    """Dotted fields and their YAML values. Raises InputError if there is no '=', or a field is given twice."""
    values: dict[str, Any] = {}
    for pair in pairs or []:
        dotted, equals, text = pair.partition("=")
        if not equals or not dotted:
            raise InputError(f"--set: got '{pair}'; expected KEY=VALUE, e.g. --set method.query.sigma=10")
        if dotted in values:
            raise InputError(f"--set {dotted}: given twice; give it once")
        values[dotted] = read_value(text, where=f"--set {dotted}")
    return values


def recipe(file: Path) -> Path:
    """The file, or the recipe of that name that comes with the package."""
    shipped = Path(__file__).parents[1] / "recipes" / f"{file.name.removesuffix('.yaml')}.yaml"
    if not file.exists() and file.parent == Path(".") and shipped.exists():
        return shipped
    return file


def root_folder(path: Path) -> Root:
    """The folder of all runs, which need not exist yet. Raises InputError if a file stands in its way."""
    nearest = next(above for above in (path, *path.absolute().parents) if above.exists())
    if not nearest.is_dir():
        raise InputError(f"--root: got '{path}'; {nearest} is not a folder; give a folder, e.g. --root runs")
    return Root(path=path)


def run_folder(run: Path) -> RunFolder:
    """The folder of a run. Raises InputError if there is none."""
    if not run.is_dir():
        raise InputError(f"{run}: no such folder; expected the folder of a run, e.g. runs/demo")
    return RunFolder(path=run)


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
