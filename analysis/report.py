"""Report: one self-contained HTML file about a run, what it cost first and how good it is second."""

from __future__ import annotations

from pathlib import Path

from privimage.analysis import (
    beside,
    chosen,
    details,
    facts,
    front,
    nearest,
    page,
    pareto,
    pictures,
    price,
    scale,
    spend,
    tables,
    words,
)
from privimage.analysis.details import Parts
from privimage.analysis.facts import Facts
from privimage.analysis.page import Column
from privimage.disk import write_whole
from privimage.paths import RunFolder
from privimage.privacy.budget import Budget

FPRS = (0.001, 0.01)


def write_report(folder: RunFolder) -> Path:
    """The path of the report, now written, with the sample grids as a picture beside it.

    Raises InputError if the run has no finished trial.
    """
    found = facts.read(folder)
    panels = pictures.best_panels(found)
    if panels:
        stated = price.opening(found)[0]
        folder.images.write_bytes(pictures.draw_panels(panels, across=5, stated=stated))
    write_whole(folder.report, html(found))
    return folder.report


def html(found: Facts) -> str:
    """The whole report."""
    sections = {
        "Privacy": privacy(found), "Quality against epsilon": front_picture(found),
        "Against the comparison rows": comparison(found), "Images": sample_grids(found),
        "How near the images are to public ones": nearest.section(found, pictures.best_panels(found)),
        "Which public classes were selected": selection(found),
        "Which public images were chosen": chosen.section(found), "All trials": details.trials(found),
        "The search on the public stand-in": details.stand_in(found), "Fine print": fine_print(found),
    }  # fmt: skip
    shown = {title: parts for title, parts in sections.items() if parts}
    body = [part for title, parts in shown.items() for part in (page.heading(title), *parts)]
    title = f"Synthetic images under differential privacy: {found.folder.path.name}"
    return page.page(
        title=f"privimage: {found.folder.path.name}", head=summary(found, title), contents=list(shown), body=body
    )


def summary(found: Facts, title: str) -> Parts:
    """Title, what has to be stated and why, and what it bought."""
    return [
        page.heading(title, level=1),
        page.box([page.paragraph(sentence, kind="lead") for sentence in price.opening(found)]),
        page.paragraph(_reached(found)),
        *[page.paragraph(sentence) for sentence in scale.sentences(found)],
    ]


def _reached(found: Facts) -> str:
    main, lead = pareto.main_method(found.records), found.lead
    searched = [r for r in found.records if r.role == "search"]
    budgets = pareto.budgets(found.records)
    scores = []
    for budget in budgets:
        mine = [r for r in found.records if r.method == main and r.budget == budget and r.private]
        best = pareto.best_of(mine, metric=lead)
        if best is not None:
            scores.append(f"{words.number(best.value(lead.name))} at budget {budget.epsilon:g}")
    chosen = " at best" if len(searched) > len(budgets) else ""
    reached = f"; {main} reaches {words.metric(lead)} {words.listed(scores)}{chosen}" if scores else ""
    compared = words.count(len(found.records) - len(searched), "comparison run")
    return (
        f"{words.count(len(searched), found.said.ended)} and {compared} on "
        f"{words.listed(found.sensitive_ids)} at {words.count(len(budgets), 'budget')}{reached}."
    )


def privacy(found: Facts) -> Parts:
    """What the total means, its price in other measures, what it covers, and what nothing covers."""
    said = [*price.terms(found), spend.covered(found), *spend.ledger_sentences(found)]
    return [
        page.bullets(said), _price_table(found), page.paragraph(price.LINE_NOTE, kind="soft"),
        page.heading("What no epsilon covers", level=3), page.bullets(spend.not_covered(found)),
    ]  # fmt: skip


def _price_table(found: Facts) -> str:
    columns = [
        Column(title="what is shown"), Column(title="delta", number=True), Column(title="epsilon (PLD)", number=True),
        Column(title="epsilon (RDP)", number=True),
        *[Column(title=f"recognised at {words.share(fpr)} false alarms", number=True) for fpr in FPRS],
    ]  # fmt: skip
    lines = price.lines(found)
    rows = [
        [
            line.what, f"{line.delta:g}", words.bound(line.epsilon), words.bound(line.epsilon_rdp),
            *[f"at most {words.share(line.tpr(fpr))}" for fpr in FPRS],
        ]
        for line in lines
    ]  # fmt: skip
    return page.table("What each thing costs that can be shown", columns, rows, strong=len(rows) - 1)


def front_picture(found: Facts) -> Parts:
    """Quality against epsilon."""
    shown = front.panels(found)
    alt = (
        f"{words.listed([m.name for m in shown])} against epsilon, a line a method; the numbers are in the tables below"
    )
    ahead = pareto.front(found.records, metrics=[found.lead.name])
    best = [
        f"{record.method} at {words.epsilon(record.epsilon_alone)} alone ({details.short(record)})" for record in ahead
    ]
    by = words.metric(found.lead)
    return [
        page.picture(front.draw_front(found), alt=alt),
        page.paragraph(
            f"Of everything measured by {by}, nothing beats these in both that and the epsilon of a trial alone: "
            f"{words.listed(best)}."
        ),
        *legend(found),
    ]


def legend(found: Facts) -> Parts:
    """What the dagger means, where one is shown."""
    dagger = any(metric.non_private for metric in found.metrics.values())
    return [page.paragraph(words.LEGEND, kind="soft")] if dagger else []


def comparison(found: Facts) -> Parts:
    """The best searched trial of every budget against every comparison row."""
    parts: Parts = []
    for budget in pareto.budgets(found.records):
        parts += [
            page.heading(f"Budget {budget.epsilon:g}, delta {budget.delta:g}", level=3),
            page.bullets(beside.sentences(found, budget)), _comparison_table(found, budget),
        ]  # fmt: skip
    return [*parts, page.paragraph(_comparison_note(found), kind="soft"), *legend(found)]


def _comparison_note(found: Facts) -> str:
    lead = found.lead
    said = [f"The best of several is by {words.metric(lead)}."]
    if any(record.value(lead.name) is None for record in found.records):
        said = [f"{said[0][:-1]}, and by the next metric where that one was not measured."]
    return found.said.compared + " ".join([*said, "What each trial is and what it took stands under all trials."])


def _comparison_table(found: Facts, budget: Budget) -> str:
    rows = beside.rows(found, budget)
    columns = [
        Column(title="method"), *details.metric_columns(found), Column(title="epsilon alone", number=True),
        Column(title="best of", number=True), Column(title="trial", number=True),
    ]  # fmt: skip
    cells = [
        [
            row.record.method, *details.values(found, row.record), words.epsilon(row.record.epsilon_alone),
            str(tables.best_of_how_many(row.among)), details.short(row.record),
        ]
        for row in rows
    ]  # fmt: skip
    main = [row.record.method for row in rows].index(pareto.main_method(found.records)) if rows else None
    base = details.base_cells(found, after=3)
    return page.table(
        f"The best trial of every method at budget {budget.epsilon:g}", columns, cells, strong=main, base=base
    )


def sample_grids(found: Facts) -> Parts:
    """Images by method and epsilon, of the best trial of each."""
    panels = pictures.best_panels(found)
    if not panels:
        return [page.paragraph("No private trial has its images in the store.", kind="soft")]
    note = (
        "A row a label, of the trial named. Rows without a privacy guarantee are not shown: their images are internal. "
        f"{price.opening(found)[0]}"
    )
    return [page.paragraph(note, kind="soft"), page.figures([_figure(panel) for panel in panels])]


def _figure(panel: pictures.Panel) -> str:
    labels = panel.samples.classes[: pictures.ROWS]
    alt = f"Synthetic images by {panel.title}, a row a label: {', '.join(labels)}"
    return page.figure(
        pictures.enlarged(panel.samples, columns=8, names=panel.samples.classes),
        title=f"{panel.title}, trial {details.short(panel.record)}",
        alt=alt,
    )


def selection(found: Facts) -> Parts:
    """Which public classes stand for which label, with examples: it follows from the noisy answer that was paid for."""
    shown = pictures.selection_of(found)
    if shown is None:
        return []
    columns = [Column(title="label"), Column(title="public classes, with their noisy counts")]
    rows = [[name, ", ".join(shown.described(row))] for row, name in enumerate(shown.labels)]
    strips = [
        page.figure(png, title=f"{name}: {', '.join(names)}", alt=f"Examples of the public classes selected for {name}")
        for name, names, png in shown.strips()
    ]
    note = (
        f"The public classes on which trial {shown.record.id} was pre-trained, those with the largest noisy counts "
        "first. They follow from the noisy answer to the query alone, which is paid for: counts carry its noise and "
        "may be negative."
    )
    licence = (
        f"The pictures are images of the public set {shown.public}, one of each class; to pass them on, keep to the "
        "licence of that set."
    )
    return [
        page.paragraph(note), page.table("The classes selected for every label", columns, rows),
        page.paragraph(licence, kind="soft"), page.figures(strips),
    ]  # fmt: skip


def fine_print(found: Facts) -> Parts:
    """Unit of privacy, adjacency, accountants and versions."""
    versions = {f"{name} {version}" for record in found.records for name, version in record.versions.items()}
    sentences = [
        f"Unit of privacy: {words.UNIT}.",
        f"Adjacency: {words.ADJACENCY}.",
        "Accountant: PLD, an upper bound on the exact cost; of a selection, and of accesses "
        "that were chosen on the way, the smaller of that and RDP. RDP alone, the accountant of the PrivImage paper, "
        "stands beside it for comparison; a dash means that it has no bound.",
        f"Tuning mode {found.bill.mode}.",
        f"Methods: {words.listed(pareto.methods(found.records))}.",
        f"Versions: {', '.join(sorted(versions)) or 'not recorded'}.",
        f"Run: {found.folder.path.name}, {words.count(len(found.records), 'record')}{_started(found)}.",
    ]
    return [page.bullets(sentences)]


def _started(found: Facts) -> str:
    started = [record.started for record in found.records if record.started]
    return f", the first started {min(started)}" if started and found.said.timed else ""
