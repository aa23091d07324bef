"""The command line: one verb a question. Exit 0 done, 2 the user's input, 1 our fault."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from privimage.errors import InputError, PrivImageError
from privimage.paths import Root, RunFolder
from privimage.plain_yaml import read_value
from sweeps import interrupt
from sweeps.cli import ledger
from sweeps.cli.terminal import PLAIN, Refused, complain, err, local, out, outlive_reader

FULL = (errno.ENOSPC, errno.EDQUOT)  # the system names no file then

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Differentially private synthetic images: one YAML file to a sweep on Ray, with the whole privacy bill.",
)

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", parser=local("RUN"), help="Folder of a run, e.g. runs/demo.")
]
RootOption = Annotated[
    Path, typer.Option("--root", parser=local("--root"), help="Folder of all runs, their store and their ledgers.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace one dotted field of the file.")
]


def _overrides(pairs: list[str] | None) -> dict[str, Any]:
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


def _recipe(file: Path) -> Path:
    """The file, or the recipe of that name that comes with the package."""
    shipped = Path(__file__).parents[1] / "recipes" / f"{file.name.removesuffix('.yaml')}.yaml"
    if not file.exists() and file.parent == Path(".") and shipped.exists():
        return shipped
    return file


def _root(path: Path) -> Root:
    """The folder of all runs, which need not exist yet. Raises InputError if a file stands in its way."""
    nearest = next(above for above in (path, *path.absolute().parents) if above.exists())
    if not nearest.is_dir():
        raise InputError(f"--root: got '{path}'; {nearest} is not a folder; give a folder, e.g. --root runs")
    return Root(path=path)


def _run_folder(run: Path) -> RunFolder:
    if not run.is_dir():
        raise InputError(f"{run}: no such folder; expected the folder of a run, e.g. runs/demo")
    return RunFolder(path=run)


@app.command(epilog="Example: privimage sweep demo.yaml --set trials=4")
def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.yaml", parser=local("FILE.yaml"), help="The sweep, or the name of a shipped recipe."
        ),
    ],
    root: RootOption = Path("runs"),
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Ray cluster, or auto; this machine if absent.")
    ] = None,
    set_: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run a sweep, or what is left of it: the same command after a crash goes on where it was."""
    from sweeps.run import run_sweep
    from sweeps.sweep import load_sweep

    loaded = load_sweep(_recipe(file), overrides=_overrides(set_))
    outcome = run_sweep(loaded, root=_root(root), address=address, quiet=quiet)
    for line in outcome.failures:
        complain(f"failed: {line}")
    if outcome.failures:
        complain(f"{outcome.folder.path}: not done; mend what failed, and run the same command again")
        raise typer.Exit(1)
    out.print(f"{outcome.folder.path}: done. Look at it: privimage report {outcome.folder.path}", **PLAIN)


@app.command(
    epilog="Example: privimage plan demo --set tuning.mode=select --set 'objectives={\"dp-accuracy[cnn]\": max}'"
)
def plan(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.yaml", parser=local("FILE.yaml"), help="The sweep, or the name of a shipped recipe."
        ),
    ],
    root: RootOption = Path("runs"),
    set_: SetOption = None,
    no_estimate: Annotated[bool, typer.Option("--no-estimate", help="Do not time the stages here.")] = False,
) -> None:
    """What a sweep would ask, cost and take, before anything is asked: opens no sensitive data, charges nothing."""
    from sweeps.cli.plan_view import show
    from sweeps.estimate import estimate
    from sweeps.plan import make_plan
    from sweeps.sweep import load_sweep

    loaded = load_sweep(_recipe(file), overrides=_overrides(set_))
    with err.status("calibrating the noise", spinner="line"):
        made = make_plan(loaded, root=_root(root))
    show(made, out)
    if not made.refused and not no_estimate:
        with _progress("timing a few steps of every stage on random images") as advance:
            told = estimate(made, tell=advance)
        out.print()
        out.print(told if isinstance(told, str) else told.sentence(), **PLAIN)
    if made.refused:
        raise typer.Exit(2)


@app.command(epilog="Example: privimage front runs/demo --metric 'fid[efficientnet-lite0]'")
def front(
    run: RunArgument,
    metric: Annotated[str | None, typer.Option(help="Metric against epsilon; the first objective if absent.")] = None,
) -> None:
    """The Pareto front of a metric against epsilon: a table here, a PNG and a CSV in the run's folder."""
    import pandas as pd

    from analysis import facts, price
    from analysis.front import write_front

    folder = _run_folder(run)
    rows = write_front(folder, metric=metric)
    _say(price.opening(facts.read(folder)))
    table = Table(*(escape(str(column)) for column in rows.columns))  # "[" in a name is no markup
    for row in rows.itertuples(index=False):
        table.add_row(
            *("" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)
        )
    out.print(table)
    out.print(f"{folder.front('png')}  {folder.front('csv')}", **PLAIN)


@app.command(epilog="Example: privimage report runs/demo")
def report(run: RunArgument) -> None:
    """One self-contained HTML file: the bill first, then the front, the comparison, the images, every trial."""
    from analysis.report import write_report

    out.print(str(write_report(_run_folder(run))), **PLAIN)


@app.command(epilog="Example: privimage best runs/demo --epsilon 10 --metric 'accuracy[cnn]' --to best/")
def best(
    run: RunArgument,
    to: Annotated[Path, typer.Option(parser=local("--to"), help="A new or empty folder.")],
    metric: Annotated[str | None, typer.Option(help="Which decides; accuracy[cnn] or the first objective.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Which budget; any if absent.")] = None,
) -> None:
    """Pull the best private generator of a run: weights, configuration, and a card with its privacy statement."""
    from analysis import facts, price, spend
    from analysis.export import pull_best

    folder = _run_folder(run)
    pulled = pull_best(folder, epsilon=epsilon, metric=metric, to=to)
    _say([f"{to}: {pulled.guarantee.sentence}", pulled.guarantee.why])
    out.print(f"It is trial {pulled.record.id}, {pulled.record.method}; {to / 'card.md'} says it all", **PLAIN)
    found = facts.read(folder)
    _say([sentence for sentence in (*price.terms(found), *spend.ledger_sentences(found)) if _warns(sentence)])


@app.command(
    epilog="Examples: privimage sample best/ --n 1000 --to digits.npz; privimage sample best/ --label 0=100 --label "
    "7=50 --to some.npz; privimage sample best/ --n 1000 --label 0=20% --label 7=80% --to shares.npz"
)
def sample(
    directory: Annotated[Path, typer.Argument(metavar="DIR", parser=local("DIR"), help="A folder that `best` wrote.")],
    to: Annotated[Path, typer.Option(parser=local("--to"), help="images.npz, or grid.png.")],
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
    """Draw synthetic images from a pulled generator. Costs no privacy."""
    from analysis import bundle
    from analysis.synthesise import check_output, counts_of, sample_from, write_samples

    wanted = counts_of(bundle.read_config(directory), n=n, labels=label or ())
    check_output(to, most=max(wanted.values()))
    with _progress("sampling") as advance:
        x, y = sample_from(directory, n=n, labels=label or (), seed=seed, device=device, progress=advance)
    write_samples(x, y, to)
    out.print(f"{to}: {len(x)} images. {bundle.read_config(directory).guarantee.sentence}", **PLAIN)


@app.command(epilog="Example: privimage status runs/demo")
def status(run: RunArgument) -> None:
    """How far a run is: trials done of every row, what runs now, the time left, and the price of all it may ask."""
    from analysis import facts, price
    from sweeps import progress

    found = facts.begun(_run_folder(run))
    _say(price.opening(found))
    now = progress.read(found.folder)
    for line in progress.by_method(found.records) if now is None else now.lines():
        out.print(line, **PLAIN)
    _say(price.terms(found))


def _say(sentences: Sequence[str]) -> None:
    """Print sentences, warnings to the error stream."""
    for sentence in sentences:
        if _warns(sentence):
            complain(sentence)
        else:
            out.print(sentence, **PLAIN)


def _warns(sentence: str) -> bool:
    return sentence.startswith("WARNING")


@app.command(epilog="Example: privimage look faces.yaml --private-counts")
def look(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The sweep, or the name of a shipped recipe.")],
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
    from privimage.trial import load_data
    from sweeps.look import class_counts, read_lines, write_down
    from sweeps.sweep import load_sweep

    if private_counts and not sys.stdout.isatty():
        raise InputError("--private-counts: shows exact counts of sensitive images, so only on a terminal; no file")
    loaded, runs = load_sweep(_recipe(file), overrides=_overrides(set_)), _root(root)
    data = loaded.data
    public, sensitive = load_data(data, rendered=runs.rendered)
    for line in read_lines(data, public, sensitive):
        out.print(line, **PLAIN)
    if private_counts:
        write_down(loaded, root=runs)
        out.print("PRIVATE, no noise, no epsilon: do not write these counts down or pass them on", **PLAIN)
        table = Table("class", "train", "validation", "test")
        for row in class_counts(sensitive):
            table.add_row(*(escape(str(value)) for value in row))
        out.print(table)


app.add_typer(ledger.app, name="ledger")


class _progress:
    """A bar on a terminal for a step-counting callback."""

    def __init__(self, label: str) -> None:
        from rich.progress import Progress

        self._bar = Progress(console=err, disable=not err.is_terminal, transient=True)
        self._task = self._bar.add_task(label, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self._bar.start()
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


def main() -> None:
    """Run the command line; errors of the user end in one line and exit code 2, a signal in one line and 128 + it."""
    interrupts = interrupt.Interrupts()
    interrupts.install()
    outlive_reader()
    try:
        app(standalone_mode=True)
    except (SystemExit, KeyboardInterrupt) as end:
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
        if error.errno in FULL:
            complain(f"privimage: cannot write ({error.strerror}); make room, and run the same command again")
            sys.exit(2)
        if error.filename is None:  # about no file of the user's
            raise
        where = error.filename2 or error.filename  # of a file that takes the place of another: that place
        said = f"{where}: {error.strerror}; give another place, or see that it may be read and written"
        complain(f"privimage: {said}")
        sys.exit(2)
    except PrivImageError as error:
        complain(f"privimage: {error}")
        sys.exit(1)
