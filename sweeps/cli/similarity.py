"""The verb sds: how alike the labels of a run and the public classes that it selected are, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privimage.sweeps.cli.options import RunArgument
from privimage.sweeps.cli.terminal import local, out
from privimage.text import PLAIN

app = typer.Typer()


@app.command(epilog="Example: privimage sds runs/demo --vectors glove.twitter.27B.25d.txt")
def sds(
    run: RunArgument,
    vectors: Annotated[
        Path | None,
        typer.Option(
            parser=local("--vectors"),
            help="A GloVe text file; features.glove of the sweep if absent, or the model of privimage[words].",
        ),
    ] = None,
) -> None:
    """Semantic distribution similarity of the labels and of the public classes that were selected for them.

    By vectors of their names, frequency-weighted (PrivImage, Eq. 5), beside that of the whole public set. It
    follows from what the store holds, and from names: it asks nothing, and costs no privacy.
    """

    from privimage.analysis import facts, typeset, words
    from privimage.analysis import sds as similarities
    from privimage.data.keywords import load_described, members_of
    from privimage.paths import RunFolder
    from privimage.sweeps.sweep import Sweep

    found = facts.read(RunFolder(path=run))
    sweep = Sweep.load(found.folder.sweep)
    named = vectors or (None if sweep.features.glove is None else Path(sweep.features.glove).expanduser())
    public = load_described(sweep.data.public, cache=found.folder.root.rendered)
    everything = dict(zip(public.classes, map(len, members_of(public)), strict=True))
    if named is None:
        embed = similarities.by_names()
    else:
        names = similarities.names_in(found) | everything.keys()
        embed = similarities.by_words(similarities.read_vectors(named, names=names))
    lines = similarities.of_run(found, embed, everything=everything)
    rows = [[one.named, words.number(one.value), words.number(one.by_label), str(one.unknown)] for one in lines]
    heads = ("selection", "SDS ↑", "by label ↑", "names left out")
    for line in typeset.grid(heads, rows, right=(1, 2, 3)):
        out.print(line, emoji=False, **PLAIN)
    by = similarities.EMBEDDED if named is None else named.name
    note = f"By {by}. Labels weigh the same; public classes as they were selected, of all as often as they are."
    out.print(f"\n- {note}", **PLAIN)
