"""Report: one self-contained HTML file about a run, what it cost first and how good it is second."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from analysis import compare, facts, front, page, pareto, pictures, spend, tables, words
from analysis.facts import Facts
from analysis.page import Column
from privimage.budget import Budget
from privimage.methods.privimage import PRESETS
from privimage.paths import RunFolder
from privimage.record import Record


def write_report(folder: RunFolder) -> Path:
    """The path of the report, now written, with the sample grids as a picture beside it.

    Raises InputError if the run has no finished trial.
    """
    found = facts.read(folder)
    panels = pictures.best_panels(found)
    if panels:
        folder.images.write_bytes(pictures.draw_panels(panels, across=5))
    draft = folder.report.with_suffix(".draft")
    draft.write_text(html(found), encoding="utf-8")
    os.replace(draft, folder.report)
    return folder.report


def html(found: Facts) -> str:
    """The whole report."""
    compositions = spend.compositions(found.records)
    sections = [
        summary(found, compositions), privacy(found, compositions), front_picture(found), comparison(found),
        sample_grids(found), trials(found), budget_lines(found), fine_print(found),
    ]  # fmt: skip
    return page.page(title=f"privimage: {found.folder.path.name}", body=[part for parts in sections for part in parts])


Parts = list[str]


def summary(found: Facts, compositions: Sequence[spend.Composition]) -> Parts:
    """Title, and the answer in one sentence."""
    main, lead = pareto.main_method(found.records), found.lead
    searched = [r for r in found.records if r.role == "search"]
    budgets = pareto.budgets(found.records)
    scores = []
    for budget in budgets:
        mine = [r for r in found.records if r.method == main and r.budget == budget and r.private]
        best = pareto.best_of(mine, metric=lead)
        if best is not None:
            scores.append(f"{words.number(best.value(lead.name))} at epsilon {budget.epsilon:g}")
    reached = f"; {main} reaches {words.metric(lead)} {words.listed(scores)} at best" if scores else ""
    cost = words.listed([f"epsilon {words.epsilon(c.epsilon)} at delta {c.delta:g}" for c in compositions])
    compared = words.count(len(found.records) - len(searched), "comparison run")
    sentence = (
        f"{words.count(len(searched), 'search trial')} and {compared} on {words.listed(found.sensitive_ids)} "
        f"at {words.count(len(budgets), 'budget')}{reached}; everything together costs {cost}."
    )
    title = f"Synthetic images under differential privacy: {found.folder.path.name}"
    return [page.heading(title, level=1), page.paragraph(sentence, kind="lead")]


def privacy(found: Facts, compositions: Sequence[spend.Composition]) -> Parts:
    """The composition over the whole sweep, what it covers, and what nothing covers."""
    mode = [f"Tuning mode {found.mode}: every trial states its own epsilon."] if found.mode else []
    covered = [*map(str, compositions), spend.COVERED, *mode, *spend.ledger_sentences(found)]
    return [
        page.heading("What all of it cost in privacy"),
        page.box([page.paragraph(sentence) for sentence in covered]),
        page.heading("What no epsilon covers", level=3),
        page.bullets(spend.not_covered(found)),
    ]


def front_picture(found: Facts) -> Parts:
    """Quality against epsilon."""
    names = [metric.name for metric in front.panels(found)]
    alt = f"{words.listed(names)} against epsilon, a line a method; the same numbers stand in the tables below"
    ahead = pareto.front(found.records, metrics=[found.lead.name])
    best = [f"{record.id} ({record.method}, epsilon {words.epsilon(record.epsilon)})" for record in ahead]
    return [
        page.heading("Quality against epsilon"),
        page.picture(front.draw_front(found), alt=alt),
        page.paragraph(f"No trial beats these in both epsilon and {words.metric(found.lead)}: {words.listed(best)}."),
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
    note = (
        "Seconds are those of the shown trial; stages found in the cache took almost none. The best of several is by "
    )
    return [*parts, page.paragraph(f"{note}{words.metric(found.lead)}.", kind="soft"), *_legend(found)]


def _comparison_table(found: Facts, budget: Budget) -> str:
    rows = compare.rows(found, budget)
    columns = [
        Column(title="method"), Column(title="what it is"), *_metric_columns(found),
        Column(title="epsilon paid", number=True),
        Column(title="by RDP", number=True), Column(title="seconds", number=True), Column(title="best of", number=True),
        Column(title="trial"),
    ]  # fmt: skip
    cells = [
        [
            row.record.method, PRESETS[row.record.method].what if row.record.method in PRESETS else "",
            *_values(found, row.record), words.epsilon(row.record.epsilon), words.epsilon(row.record.epsilon_rdp),
            f"{row.record.seconds:.0f}", str(len(row.among)), row.record.id,
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
    """Every trial: what was searched, what came out, what it took."""
    paths = pareto.searched(found.records)
    columns = [
        Column(title="trial"), Column(title="role"), Column(title="method"), Column(title="budget", number=True),
        Column(title="epsilon (PLD)", number=True), Column(title="epsilon (RDP)", number=True),
        *_metric_columns(found), *[Column(title=path) for path in paths], Column(title="seed", number=True),
        Column(title="seconds", number=True), Column(title="peak MiB", number=True), Column(title="stages"),
    ]  # fmt: skip
    searched = f"The search varied {words.listed(paths)}. " if paths else ""
    stages = "A stage is a hit (found in the cache), built (computed here) or joined (waited for another trial)."
    return [
        page.heading("All trials"),
        page.paragraph(searched + stages, kind="soft"),
        page.table(columns, [_trial(found, record, paths) for record in found.records]),
        *_legend(found),
    ]


def _trial(found: Facts, record: Record, paths: Sequence[str]) -> list[str]:
    config = pareto.flatten(record.config)
    return [
        record.id, record.role, record.method, f"{record.budget.epsilon:g}", words.epsilon(record.epsilon),
        words.epsilon(record.epsilon_rdp), *_values(found, record),
        *[_setting(config.get(path)) for path in paths], str(record.seed), f"{record.seconds:.0f}",
        words.number(tables.peak_mib(record)), tables.stages(record),
    ]  # fmt: skip


def _setting(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)


def budget_lines(found: Facts) -> Parts:
    """What every trial spent, event by event."""
    columns = [Column(title="trial"), Column(title="method"), Column(title="what it spent")]
    rows = [[record.id, record.method, spend.budget_line(record)] for record in found.records]
    note = "The epsilon of an event is that of the event alone; together they cost less than their sum."
    return [
        page.heading("What every trial spent"),
        page.paragraph(note, kind="soft"),
        page.table(columns, rows),
    ]


def fine_print(found: Facts) -> Parts:
    """Unit of privacy, adjacency, accountants and versions."""
    versions = {f"{name} {version}" for record in found.records for name, version in record.versions.items()}
    sentences = [
        f"Unit of privacy: {words.UNIT}.",
        f"Adjacency: {words.ADJACENCY}.",
        "Accountant: PLD (Google's dp-accounting), an upper bound on the exact cost. RDP, the accountant "
        "of the PrivImage paper, is looser and stands beside it for comparison.",
        f"Methods: {words.listed(pareto.methods(found.records))}.",
        f"Versions: {', '.join(sorted(versions)) or 'not recorded'}.",
        f"Run: {found.folder.path.name}, {words.count(len(found.records), 'record')}, the first started "
        f"{min(record.started for record in found.records)}.",
    ]
    return [page.heading("Fine print"), page.bullets(sentences), *_legend(found)]
