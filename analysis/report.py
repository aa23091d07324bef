"""Report: one self-contained HTML file about a run, what it cost first and how good it is second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis import compare, facts, front, page, pareto, pictures, price, spend, tables, words
from analysis.facts import Facts
from analysis.page import Column
from privimage.budget import Budget
from privimage.disk import write_whole
from privimage.methods.presets import PRESETS
from privimage.paths import RunFolder
from privimage.record import Record

FPRS = (0.001, 0.01)
ENDED = {"select": "winner", "public": "final run"}
ROLES = {"select": "winner", "public": "final"}
EFFORT = (
    Column(title="seconds", number=True),
    Column(title="peak MiB", number=True),
    Column(title="stages", text=True),
)
STAGES = "A stage is a hit (found in the cache), built (computed here) or joined (waited for another trial)."


def write_report(folder: RunFolder) -> Path:
    """The path of the report, now written, with the sample grids as a picture beside it.

    Raises InputError if the run has no finished trial.
    """
    found = facts.read(folder)
    panels = pictures.best_panels(found)
    if panels:
        folder.images.write_bytes(pictures.draw_panels(panels, across=5))
    write_whole(folder.report, html(found))
    return folder.report


def html(found: Facts) -> str:
    """The whole report."""
    sections = [
        summary(found), privacy(found), front_picture(found), comparison(found), sample_grids(found), trials(found),
        stand_in(found), budget_lines(found), fine_print(found),
    ]  # fmt: skip
    return page.page(title=f"privimage: {found.folder.path.name}", body=[part for parts in sections for part in parts])


Parts = list[str]


def summary(found: Facts) -> Parts:
    """Title, the total in one sentence, and what it bought in another."""
    title = f"Synthetic images under differential privacy: {found.folder.path.name}"
    return [
        page.heading(title, level=1),
        *[page.paragraph(sentence, kind="lead") for sentence in price.opening(found)],
        page.paragraph(_reached(found), kind="lead"),
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
            scores.append(f"{words.number(best.value(lead.name))} at epsilon {budget.epsilon:g}")
    chosen = " at best" if len(searched) > len(budgets) else ""
    reached = f"; {main} reaches {words.metric(lead)} {words.listed(scores)}{chosen}" if scores else ""
    compared = words.count(len(found.records) - len(searched), "comparison run")
    return (
        f"{words.count(len(searched), ENDED.get(found.mode, 'search trial'))} and {compared} on "
        f"{words.listed(found.sensitive_ids)} at {words.count(len(budgets), 'budget')}{reached}."
    )


def privacy(found: Facts) -> Parts:
    """What the total means, its price in other measures, what it covers, and what nothing covers."""
    said = [*price.terms(found), spend.covered(found), *spend.ledger_sentences(found)]
    return [
        page.heading("What all of it cost in privacy"),
        page.box([page.paragraph(sentence) for sentence in said]),
        _price_table(found),
        page.paragraph(price.LINE_NOTE, kind="soft"),
        page.heading("What no epsilon covers", level=3),
        page.bullets(spend.not_covered(found)),
    ]


def _price_table(found: Facts) -> str:
    columns = [
        Column(title="what is shown"), Column(title="delta", number=True), Column(title="epsilon (PLD)", number=True),
        Column(title="epsilon (RDP)", number=True),
        *[Column(title=f"TPR at FPR {words.share(fpr)}", number=True) for fpr in FPRS],
    ]  # fmt: skip
    lines = price.lines(found)
    rows = [
        [
            line.what, f"{line.delta:g}", words.bound(line.epsilon), words.bound(line.epsilon_rdp),
            *[f"at most {words.share(line.tpr(fpr))}" for fpr in FPRS],
        ]
        for line in lines
    ]  # fmt: skip
    return page.table(columns, rows, strong=len(rows) - 1)


def front_picture(found: Facts) -> Parts:
    """Quality against epsilon."""
    shown = front.panels(found)
    alt = (
        f"{words.listed([m.name for m in shown])} against epsilon, a line a method; the numbers are in the tables below"
    )
    ahead = pareto.front(found.records, metrics=[found.lead.name])
    best = [f"{record.id} ({record.method}, epsilon {words.epsilon(record.epsilon_alone)})" for record in ahead]
    by = words.metric(found.lead)
    return [
        page.heading("Quality against epsilon"),
        page.picture(front.draw_front(found), alt=alt),
        page.paragraph(
            f"Of everything measured by {by}, nothing beats these in both that and epsilon: {words.listed(best)}."
        ),
        *_legend(found),
    ]


def _legend(found: Facts) -> Parts:
    dagger = any(metric.non_private for metric in found.metrics.values())
    return [page.paragraph(words.LEGEND, kind="soft")] if dagger else []


def comparison(found: Facts) -> Parts:
    """The best searched trial of every budget against every comparison row."""
    parts = [page.heading("Against the comparison rows")]
    for budget in pareto.budgets(found.records):
        parts += [
            page.heading(f"Epsilon {budget.epsilon:g}, delta {budget.delta:g}", level=3),
            page.bullets(compare.sentences(found, budget)), _comparison_table(found, budget),
        ]  # fmt: skip
    return [*parts, page.paragraph(_comparison_note(found), kind="soft"), *_legend(found)]


def _comparison_note(found: Facts) -> str:
    lead = found.lead
    said = [f"The best of several is by {words.metric(lead)}."]
    if any(record.value(lead.name) is None for record in found.records):
        said = [f"{said[0][:-1]}, and by the next metric where that one was not measured."]
    if found.mode == "select":
        return " ".join(["K is the secret number of trials of a private selection.", *said])
    return " ".join(["Seconds are those of the shown trial; stages found in the cache took almost none.", *said])


def _comparison_table(found: Facts, budget: Budget) -> str:
    rows = compare.rows(found, budget)
    columns = [
        Column(title="method"), Column(title="what it is"), *_metric_columns(found),
        Column(title="epsilon alone", number=True), Column(title="by RDP", number=True),
        *([Column(title="seconds", number=True)] if found.timed else []), Column(title="best of", number=True),
        Column(title="trial"),
    ]  # fmt: skip
    cells = [
        [
            row.record.method, PRESETS[row.record.method].what if row.record.method in PRESETS else "",
            *_values(found, row.record), words.epsilon(row.record.epsilon_alone), spend.by_rdp(row.record),
            *([f"{row.record.seconds:.0f}"] if found.timed else []), str(tables.best_of_how_many(row.among)),
            row.record.id,
        ]
        for row in rows
    ]  # fmt: skip
    main = [row.record.method for row in rows].index(pareto.main_method(found.records)) if rows else None
    return page.table(columns, cells, strong=main)


def _metric_columns(found: Facts) -> list[Column]:
    return [
        Column(title=f"{words.metric(metric)} {words.ARROWS[metric.direction]}", number=True)
        for metric in found.metrics.values()
    ]


def _values(found: Facts, record: Record) -> list[str]:
    return [words.number(record.value(name)) for name in found.metrics]


def sample_grids(found: Facts) -> Parts:
    """Images by method and epsilon, of the best trial of each."""
    panels = pictures.best_panels(found)
    note = (
        "A row a label, of the trial named. Rows without a privacy guarantee are not shown: their images are internal."
    )
    if not panels:
        return [
            page.heading("Images"),
            page.paragraph("No private trial has its images in the store.", kind="soft"),
        ]
    shown = [
        page.figure(pictures.enlarged(panel.samples, columns=8), title=f"{panel.title}, trial {panel.record.id}")
        for panel in panels
    ]
    return [page.heading("Images"), page.paragraph(note, kind="soft"), page.figures(shown)]


def trials(found: Facts) -> Parts:
    """Every trial that may be shown: what was searched, what came out, what it took."""
    paths = found.searched
    columns = [
        Column(title="trial"), Column(title="role"), Column(title="method"), Column(title="budget", number=True),
        Column(title="epsilon (PLD)", number=True), Column(title="epsilon (RDP)", number=True),
        *_metric_columns(found), *[Column(title=path) for path in paths], Column(title="seed", number=True),
        *(EFFORT if found.timed else []),
    ]  # fmt: skip
    searched = f"The search varied {words.listed(paths)}. " if paths else ""
    selected = (
        "Of a private selection only the winner is shown, under the name of its selection; what anything took in time "
        "and memory is not shown either, since it tells of the other trials."
    )
    return [
        page.heading("All trials" if found.timed else "All that is shown"),
        page.paragraph(searched + (STAGES if found.timed else selected), kind="soft"),
        page.table(columns, [_trial(found, record, paths) for record in found.records]),
        *_legend(found),
    ]


def _trial(found: Facts, record: Record, paths: Sequence[str]) -> list[str]:
    config = pareto.flatten(record.config)
    role = ROLES.get(found.mode, record.role) if record.role == "search" else record.role
    effort = [f"{record.seconds:.0f}", words.number(tables.peak_mib(record)), tables.stages(record)]
    return [
        record.id, role, record.method, f"{record.budget.epsilon:g}", words.epsilon(record.epsilon_alone),
        spend.by_rdp(record), *_values(found, record), *[_setting(config.get(path)) for path in paths],
        str(record.seed), *(effort if found.timed else []),
    ]  # fmt: skip


def stand_in(found: Facts) -> Parts:
    """The search of mode public: its trials on the stand-in, which have no price on the sensitive set."""
    search = found.stand_in
    if search is None:
        return []
    paths = search.searched
    columns = [
        Column(title="trial"), Column(title="method"), Column(title="as for epsilon", number=True),
        *_metric_columns(search), *[Column(title=path) for path in paths], Column(title="seed", number=True), *EFFORT,
    ]  # fmt: skip
    rows = [
        [
            record.id, record.method, f"{record.budget.epsilon:g}", *_values(search, record),
            *[_setting(pareto.flatten(record.config).get(path)) for path in paths], str(record.seed),
            f"{record.seconds:.0f}", words.number(tables.peak_mib(record)), tables.stages(record),
        ]
        for record in search.records
    ]  # fmt: skip
    note = (
        "PUBLIC: every number here was computed from public data alone. The search added the noise that each budget "
        "asks for, so that its settings suit it; on the sensitive set it asked nothing and cost nothing. "
    )
    return [
        page.heading("The search on the public stand-in"),
        page.paragraph(note + STAGES, kind="soft"),
        page.table(columns, rows),
    ]


def _setting(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)


def budget_lines(found: Facts) -> Parts:
    """What every trial spent, event by event."""
    columns = [Column(title="trial"), Column(title="method"), Column(title="what it spent", text=True)]
    rows = [[record.id, record.method, spend.budget_line(record)] for record in found.records]
    note = "The epsilon of an event is that of the event alone; together they cost less than their sum."
    if found.mode == "select":
        note = "Of a private selection only the whole has a price, however little its winner alone would have cost."
    return [
        page.heading("What every trial spent" if found.timed else "What everything shown spent"),
        page.paragraph(note, kind="soft"),
        page.table(columns, rows),
    ]


def fine_print(found: Facts) -> Parts:
    """Unit of privacy, adjacency, accountants and versions."""
    versions = {f"{name} {version}" for record in found.records for name, version in record.versions.items()}
    sentences = [
        f"Unit of privacy: {words.UNIT}.",
        f"Adjacency: {words.ADJACENCY}.",
        "Accountant: PLD, an upper bound on the exact cost; of a selection, and of accesses "
        "that were chosen on the way, the smaller of that and RDP. RDP alone, the accountant of the PrivImage paper, "
        "stands beside it for comparison; a dash means that it has no bound.",
        f"Tuning mode {found.mode}.",
        f"Methods: {words.listed(pareto.methods(found.records))}.",
        f"Versions: {', '.join(sorted(versions)) or 'not recorded'}.",
        f"Run: {found.folder.path.name}, {words.count(len(found.records), 'record')}{_started(found)}.",
    ]
    return [page.heading("Fine print"), page.bullets(sentences)]


def _started(found: Facts) -> str:
    started = [record.started for record in found.records if record.started]
    return f", the first started {min(started)}" if started and found.timed else ""
