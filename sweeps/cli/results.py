"""The verbs on what a run left: front, report, best, table, compare, and sample, on what was pulled of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from privimage.disk import on_disk, write, write_whole
from privimage.errors import InputError
from privimage.sweeps.cli.options import JsonOption, RunArgument, RunsArgument, say, warns
from privimage.sweeps.cli.terminal import err, local, out, typed
from privimage.text import PLAIN

if TYPE_CHECKING:
    from privimage.analysis.compare import Comparison
    from privimage.analysis.table import ResultTable

app = typer.Typer()


FigureOption = Annotated[
    Path | None, typer.Option(parser=local("--figure"), help="Also draw the metrics against epsilon: a .png.")
]
AgainstOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD",
        help="Draw against this setting in place of epsilon, e.g. method.select.ratio; again for what other rows "
        "have in its place, or what changes with it.",
    ),
]


@app.command(epilog="Example: privimage front runs/demo --metric 'fid[efficientnet-lite0]'")
def front(
    run: RunArgument,
    metric: Annotated[str | None, typer.Option(help="Metric against epsilon; the first objective if absent.")] = None,
    json: JsonOption = False,
) -> None:
    """The Pareto front of a metric against epsilon: a table here, a PNG and a CSV in the run's folder."""
    import pandas as pd

    from privimage.analysis import facts, tables
    from privimage.analysis.results import Run

    found = Run(run)
    rows = found.front(metric=metric)
    if json:
        from privimage.sweeps.cli.documents import document
        from privimage.sweeps.cli.documents.front import front_document

        document.put(front_document(found.files, metric=metric))
        return
    say(found.statement())
    table = Table(*(escape(str(column)) for column in rows.columns))  # "[" in a name is no markup
    for row in rows.itertuples(index=False):
        table.add_row(
            *("" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)
        )
    out.print(table)
    say(tables.at_any_budget(facts.read(found.files)))
    out.print(f"{found.files.front('png')}  {found.files.front('csv')}", **PLAIN)


@app.command(epilog="Example: privimage report runs/demo")
def report(run: RunArgument) -> None:
    """One self-contained HTML file: the bill first, then the front, the comparison, the images, every trial."""
    from privimage.analysis.results import Run

    out.print(str(Run(run).report()), **PLAIN)


@app.command(epilog="Example: privimage best runs/demo --epsilon 10 --metric 'accuracy[cnn]' --to best/")
def best(
    run: RunArgument,
    to: Annotated[Path, typer.Option(parser=local("--to"), help="A new or empty folder.")],
    metric: Annotated[
        str | None,
        typer.Option(
            help="Which decides; if absent the first accuracy that is measured without noise, or the first objective "
            "where there is none or that is a noisy score."
        ),
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Which budget; any if absent.")] = None,
    json: JsonOption = False,
) -> None:
    """Pull the best generator that the search made: weights, configuration, and a card with its privacy statement.

    A comparison row is pulled only where there was no search.
    """
    from privimage.analysis.results import Run

    found = Run(run)
    pulled = found.best(to=to, metric=metric, epsilon=epsilon)
    if json:
        from privimage.sweeps.cli.documents import document
        from privimage.sweeps.cli.documents.best import best_document

        document.put(best_document(pulled, run=str(run), spend=found.spend()))
        return
    say([f"{to}: {pulled.guarantee.sentence}", pulled.guarantee.why])
    out.print(f"It is trial {pulled.config.trial}, {pulled.config.method}; {to / 'card.md'} says it all", **PLAIN)
    say([sentence for sentence in found.spend() if warns(sentence)])


@app.command(
    epilog="Examples: privimage sample best/ --n 1000 --to digits.npz; privimage sample best/ --label 0=100 --label "
    "7=50 --to some.zip; privimage sample best/ --n 50000 --label 0=20% --label 7=80% --to shards/images-%06d.tar"
)
def sample(
    directory: Annotated[Path, typer.Argument(metavar="DIR", parser=local("DIR"), help="A folder that `best` wrote.")],
    to: Annotated[
        str,
        typer.Option(
            parser=typed("--to"),
            metavar="PATH",
            help="images.npz, .zip or .parquet; folder/ of PNG files, a directory a class; images-%06d.tar "
            "(WebDataset); or a picture, grid.png.",
        ),
    ],
    n: Annotated[int | None, typer.Option(help="How many images; 1000 if absent.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL[=NUMBER|=SHARE%]", help="Draw this label only: a number or a class name; again for more."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same images.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
) -> None:
    """Draw synthetic images from a pulled generator. Costs no privacy. If it was killed, the same command goes on."""
    from privimage.analysis.synthesise import Bundle

    found = Bundle(directory)
    labels = label or ()
    found.write(to, n=n, labels=labels, seed=seed, device=device)
    drawn = sum(found.counts(n=n, labels=labels).values())
    out.print(f"{to}: {drawn} images. {found.guarantee.sentence}", **PLAIN)


@app.command(
    epilog="Examples: privimage table runs/demo --figure demo.png; privimage table a/demo b/demo c/demo --to demo.tex; "
    "privimage table runs/demo --resources; privimage table runs/ratios --figure r.png --against method.select.ratio"
)
def table(
    runs: RunsArgument,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", help="markdown, csv or latex; that of --to if absent (.csv, .tex), else markdown."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(parser=local("--to"), help="A file, instead of the terminal.")] = None,
    figure: FigureOption = None,
    against: AgainstOption = None,
    resources: Annotated[
        bool, typer.Option("--resources", help="In place of the metrics: time and peak memory of every phase.")
    ] = False,
) -> None:
    """A table for a paper: rows are methods, columns epsilon and metric, cells mean and standard error.

    Of one run, or of several on the same data: repetitions are seeds, and runs in folders of their own (--root), whose
    noise is drawn anew. Every finished trial is in the row of its settings: none is chosen by its figures. What has to
    be stated, and how cells are to be read, stands below.
    """
    from privimage.analysis import resources as phases
    from privimage.analysis import typeset
    from privimage.analysis.table import read

    kind = typeset.format_of(format, to=to)
    _check_png(figure)
    if resources and figure is not None:
        raise InputError(f"--figure: got '{figure}' with --resources; it draws metrics: make two tables")
    if against and figure is None:
        raise InputError(f"--against: got {against[0]} without --figure; it is the axis of a picture: give it a name")
    found = read(runs)
    text = (phases.FORMATS if resources else typeset.FORMATS)[kind](found)
    _put(text, to=to, figure=figure, draw=lambda: _curves(found, against or ()))
    if to is not None or (kind == "csv" and not resources):  # a CSV holds numbers alone; what is said goes on its own
        for line in (*typeset.statements(found), *(str(path) for path in (to, figure) if path is not None)):
            (err if to is None else out).print(line, **PLAIN)


def _curves(found: ResultTable, fields: Sequence[str]) -> bytes:
    from privimage.analysis import against, curves

    return against.draw(found, fields) if fields else curves.draw(found)


def _put(text: str, *, to: Path | None, figure: Path | None, draw: Callable[[], bytes]) -> None:
    """Show the text, or write it; and write the picture that is asked for. Nothing where it cannot be drawn."""
    drawn = draw() if figure is not None else b""
    if to is None:
        out.print(text, end="", emoji=False, **PLAIN)
    else:
        write_whole(to, text)
    if figure is not None:
        with on_disk(figure):
            write(figure, drawn)


@app.command(epilog="Example: privimage compare runs/scans runs/scans-larger --figure both.png")
def compare(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", parser=local("RUN_A"), help="Folder of a run.")],
    b: Annotated[
        Path, typer.Argument(metavar="RUN_B", parser=local("RUN_B"), help="Folder of another, on the same set.")
    ],
    to: Annotated[Path | None, typer.Option(parser=local("--to"), help="A file, instead of the terminal.")] = None,
    figure: Annotated[
        Path | None, typer.Option(parser=local("--figure"), help="Also draw both fronts against epsilon: a .png.")
    ] = None,
) -> None:
    """Two runs on the same sensitive set: what changed, front against front, spend against spend; as Markdown.

    What changed: the fields in which the runs differ, as they were settled. Fronts: the best row of each budget, and
    the hypervolume, with its interval where there are several seeds. Spend: what must be stated of each, what it pays
    for, and what no epsilon covers.
    """
    from privimage.analysis import side_by_side
    from privimage.analysis.compare import read

    _check_png(figure)
    found = read((a, b), completed=_completed)
    _put(side_by_side.markdown(found), to=to, figure=figure, draw=lambda: _two_fronts(found))
    if to is not None:
        say([*side_by_side.statements(found), *(str(path) for path in (to, figure) if path is not None)])


def _completed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a sweep with every field of today; as they are where it is no sweep of today any more."""
    from privimage.schema import parse
    from privimage.sweeps.sweep import Sweep

    try:
        return parse(Sweep, values).model_dump(mode="json")
    except InputError:
        return values


def _two_fronts(found: Comparison) -> bytes:
    from privimage.analysis.two_fronts import draw

    return draw(found)


def _check_png(figure: Path | None) -> None:
    if figure is not None and figure.suffix.lower() != ".png":
        raise InputError(f"--figure: got '{figure}'; a PNG is drawn: give a name that ends in .png")
