"""The verb tsne: images of a run as points in the plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privimage.disk import on_disk, write
from privimage.errors import InputError
from privimage.sweeps.cli.options import RunArgument, say
from privimage.sweeps.cli.terminal import local, out
from privimage.text import PLAIN

if TYPE_CHECKING:
    from privimage.analysis.facts import Facts
    from privimage.analysis.pictures import Panel

app = typer.Typer()
LEAST = 5  # images of a set: fewer make no map


@app.command(
    epilog="Examples: privimage tsne runs/demo --to tsne.png; privimage tsne runs/demo --epsilon 10 --real --to "
    "private.png"
)
def tsne(
    run: RunArgument,
    to: Annotated[Path, typer.Option(parser=local("--to"), help="A .png.")],
    epsilon: Annotated[float | None, typer.Option(help="Which budget; the largest if absent.")] = None,
    n: Annotated[int, typer.Option(min=LEAST, max=5000, help="Images of each set.")] = 400,
    network: Annotated[str, typer.Option(help="Whose features.")] = "efficientnet-lite0",
    real: Annotated[
        bool, typer.Option("--real", help="Real test images too: PRIVATE, a look in the ledger, for your eyes.")
    ] = False,
) -> None:
    """The best synthetic images of every method as points in the plane (t-SNE of features), coloured by label.

    Made from what the store holds; it asks nothing, and costs no privacy. With --real, real test images stand beside
    them: such a picture shows single sensitive images, and no epsilon covers it.
    """
    from privimage import metrics
    from privimage.analysis import clouds, facts, price
    from privimage.paths import RunFolder
    from privimage.sweeps import clouds as points
    from privimage.sweeps.sweep import Sweep

    _check(to, network)
    found = facts.read(RunFolder(path=run))
    sweep = Sweep.load(found.folder.sweep)
    weights = sweep.features.weights
    metrics.check([f"fid[{network}]"], weights=weights)
    sets = []
    panels = _panels(found, epsilon)
    for panel in panels:
        x, y = panel.samples.x[:n], panel.samples.y[:n]
        sets.append(clouds.Cloud(title=panel.title, features=points.shown(x, network=network, weights=weights), y=y))
    if real:
        embedded, y = points.real(found.folder, sweep.data, n=n, network=network, weights=weights)
        sets.append(clouds.Cloud(title="real test images", features=embedded, y=y, private=True))
    stated = price.opening(found)
    picture = clouds.draw(sets, classes=panels[0].samples.classes, network=network, stated=stated[:1])
    with on_disk(to):
        write(to, picture)
    say(stated)
    out.print(f"{to}" + (": PRIVATE, it shows single real images; no epsilon covers it" if real else ""), **PLAIN)


def _check(to: Path, network: str) -> None:
    from privimage.metrics.variants import NETWORKS

    if to.suffix.lower() != ".png":
        raise InputError(f"--to: got '{to}'; a PNG is drawn: give a name that ends in .png")
    if network not in NETWORKS:
        raise InputError(f"--network: got '{network}'; allowed: {', '.join(NETWORKS)}")


def _panels(found: Facts, epsilon: float | None) -> list[Panel]:
    """The best images of every method at a budget. Raises InputError if there are none."""
    from privimage.analysis import pareto, pictures

    budgets = [budget.epsilon for budget in pareto.budgets(found.records)]
    if not budgets or (epsilon is not None and epsilon not in budgets):
        known = ", ".join(f"{value:g}" for value in budgets) or "none that is private"
        raise InputError(f"--epsilon: got {epsilon}; the budgets of {found.folder.path}: {known}")
    wanted = max(budgets) if epsilon is None else epsilon
    panels = [
        panel for panel in pictures.best_panels(found)
        if panel.record.budget.epsilon == wanted or not pareto.spends_its_budget(panel.record)
    ]  # fmt: skip
    if not panels:
        raise InputError(f"{found.folder.path}: no images in the store at epsilon {wanted:g}; run the sweep again")
    return panels
