"""The verb render: the files that start a sweep on many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from privimage.cluster.launch.target import DOOR, launch_of
from privimage.disk import make_folder, on_disk, write_whole
from privimage.errors import InputError
from privimage.sweeps.cli.options import FileArgument
from privimage.sweeps.cli.terminal import local, out
from privimage.text import PLAIN

app = typer.Typer()


class _WithExamples(TyperCommand):
    """Its help ends in an example of every target; they are not loaded before it is asked for."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write what each target is, and an example of it."""
        for name, target in DOOR.members().items():
            formatter.write_paragraph()
            formatter.write_text(f"{name}: {target.what}. Example:")
            with formatter.indentation():
                formatter.write_text(f"privimage render {name} scans.yaml --to launch {target.example}")


def _text(help: str) -> Any:
    return typer.Option(help=help)


@app.command(cls=_WithExamples)
def render(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Where to; see below.", autocompletion=lambda: list(DOOR.names()))
    ],
    file: FileArgument,
    to: Annotated[Path, typer.Option(parser=local("--to"), help="A folder; made if it is not there.")],
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    name: Annotated[str | None, _text("Of the job; the sweep's if absent.")] = None,
    shared: Annotated[str | None, _text("A folder that all nodes see; runs go to SHARED/runs.")] = None,
    root: Annotated[str | None, _text("A bucket for the runs, e.g. s3://scans/runs.")] = None,
    image: Annotated[str | None, _text("Container image with privimage.")] = None,
    venv: Annotated[str | None, _text("Environment with privimage, at this path on every node.")] = None,
    min_nodes: Annotated[int | None, typer.Option(min=1, help="Least nodes for trials; 1 if absent.")] = None,
    max_nodes: Annotated[int | None, typer.Option(min=1, help="Most nodes; as many as the least if absent.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Cores of a node; those of a trial if absent.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of a node; those of a trial if absent.")] = None,
    memory: Annotated[int | None, typer.Option(min=1, help="GiB of a node; 16 if absent.")] = None,
    gpu_type: Annotated[str | None, _text("Kind of GPU, as the cluster calls it.")] = None,
    partition: Annotated[str | None, _text("Queue of the cluster.")] = None,
    time: Annotated[str | None, _text("Time limit, [DAYS-]HH:MM:SS; 24 hours if absent.")] = None,
    namespace: Annotated[str | None, _text("Of the job; default if absent.")] = None,
    claim: Annotated[str | None, _text("Volume claim that SHARED is; privimage if absent.")] = None,
    secret: Annotated[str | None, _text("Secret with variables of the pods, as the credentials of a bucket.")] = None,
    retries: Annotated[int | None, typer.Option(min=0, help="New tries of a job that failed; 10 if absent.")] = None,
    host: Annotated[list[str] | None, _text("A machine, the head first; again for each.")] = None,
    user: Annotated[str | None, _text("Who logs in to the machines.")] = None,
) -> None:
    """Write the files that start a sweep elsewhere, from what its trials take; starts nothing, opens no data."""
    words = {key: value for key, value in locals().items() if key not in ("target", "file", "to", "force")}
    _write(target, file, to, force=force, given={k: v for k, v in words.items() if v is not None})


def _write(title: str, file: Path, to: Path, *, force: bool, given: dict[str, Any]) -> None:
    """Write what the target of that name makes of a sweep. Raises InputError if something would be replaced."""
    from privimage.sweeps import extra, recipe
    from privimage.sweeps.sweep import Sweep

    extra.check_installed()
    target, sweep = DOOR.load(title), Sweep.load(file)
    if "host" in given:
        given["host"] = tuple(given["host"])
    text = recipe.find(file).read_text(encoding="utf-8")
    launch = launch_of(target, title, name=sweep.name, text=text, resources=sweep.resources, given=given)
    files = target.files(launch)
    there = [to / name for name in files if (to / name).exists()]
    if there and not force:
        raise InputError(f"{there[0]}: is there already; give --force to replace it, or another --to")
    with on_disk(to):
        make_folder(to)
    for name, content in files.items():
        write_whole(to / name, content)
        out.print(str(to / name), **PLAIN)
    out.print(f"Next: {target.then(launch)}", **PLAIN)
