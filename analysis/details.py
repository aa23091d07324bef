"""Details: the tables of trials in a report. Short lines; what a trial was, took and spent folds out below."""

from __future__ import annotations

from privimage.analysis import methods, page, pareto, scale, spend, tables, words
from privimage.analysis.facts import Facts
from privimage.analysis.page import Column
from privimage.record import Record

STAGES = "A stage was computed by this trial, found in the cache, or waited for while another trial computed it."
ORIGINS = {"built": "computed", "hit": "found", "joined": "waited for"}  # as `status` calls them

Parts = list[str]


def metric_columns(found: Facts) -> list[Column]:
    """A column a metric, with its better direction."""
    return [
        Column(title=f"{words.metric(metric)} {words.ARROWS[metric.direction]}", number=True)
        for metric in found.metrics.values()
    ]


def values(found: Facts, record: Record) -> list[str]:
    """The cells under `metric_columns`."""
    return [words.number(record.value(name)) for name in found.metrics]


def short(record: Record) -> str:
    """The first digits of a trial's name, for tables; the whole stands where the trial folds out."""
    return record.id[:8]


def base_cells(found: Facts, *, before: int = 0, after: int = 0) -> list[list[str]]:
    """Rows of base rates for a table with so many columns between its first one and the metrics, and after them."""
    return [
        [title, *[""] * before, *[words.number(rates[name]) for name in found.metrics], *[""] * after]
        for title, rates in scale.base_rows(found)
    ]


def trials(found: Facts) -> Parts:
    """Every trial that may be shown: a line each, and what it was, took and spent to fold out."""
    paths = found.searched
    searched = f"The search varied {words.listed(paths)}. " if paths else ""
    selected = (
        "Of a private selection only the winner is shown, under the name of its selection; what anything took in time "
        "and memory is not shown either, since it tells of the other trials. Of it only the whole has a price, however "
        "little its winner alone would have cost."
    )
    spent = " The epsilon of an event is that of the event alone; together they cost less than their sum."
    return [
        page.paragraph(searched + (STAGES + spent if found.said.timed else selected), kind="soft"),
        _table(found, "Every trial that may be shown"),
        *[page.paragraph(line, kind="soft") for line in tables.at_any_budget(found)],
        page.heading("What each trial was, took and spent", level=3),
        *[_folded(found, record) for record in found.records],
        *([page.paragraph(words.LEGEND, kind="soft")] if any(m.non_private for m in found.metrics.values()) else []),
    ]


def _table(found: Facts, caption: str) -> str:
    columns = [
        Column(title="trial"), Column(title="method"), Column(title="budget", number=True),
        Column(title="epsilon alone", number=True), *metric_columns(found),
    ]  # fmt: skip
    rows = [
        [
            short(record), record.method, f"{record.budget.epsilon:g}", words.epsilon(record.epsilon_alone),
            *values(found, record),
        ]
        for record in found.records
    ]  # fmt: skip
    return page.table(caption, columns, rows, base=base_cells(found, before=3))


def _folded(found: Facts, record: Record) -> str:
    """Settings, effort and price of one trial."""
    config = pareto.flatten(record.config)
    role = (record.role == "search" and found.said.role) or record.role
    what = methods.what(record)
    pairs = [
        ("what it is", f"{what} ({role})" if what else role),
        *[(path, words.setting(config.get(path))) for path in found.searched],
        ("seed", str(record.seed)),
        ("spent", spend.budget_line(record)),
        ("epsilon alone by RDP", spend.by_rdp(record)),
        *(_effort(record) if found.said.timed else []),
    ]
    return page.folded(f"{record.id}: {record.method} at budget {record.budget.epsilon:g}", pairs)


def _effort(record: Record) -> list[tuple[str, str]]:
    return [
        ("seconds", f"{record.seconds:.0f}"),
        ("peak MiB", words.number(tables.peak_mib(record))),
        ("stages", ", ".join(f"{stage.name} {ORIGINS[stage.origin]}" for stage in record.stages)),
    ]


def stand_in(found: Facts) -> Parts:
    """The search of mode public: its trials on the stand-in, which have no price on the sensitive set."""
    search = found.stand_in
    if search is None:
        return []
    columns = [
        Column(title="trial"), Column(title="method"), Column(title="as for budget", number=True),
        *metric_columns(search),
    ]  # fmt: skip
    rows = [
        [short(record), record.method, f"{record.budget.epsilon:g}", *values(search, record)]
        for record in search.records
    ]
    note = (
        "PUBLIC: every number here was computed from public data alone. The search added the noise that each budget "
        "asks for, so that its settings suit it; on the sensitive set it asked nothing and cost nothing. "
    )
    return [
        page.paragraph(note + STAGES, kind="soft"),
        page.table("Every trial on public data", columns, rows),
        *[_on_public_data(search, record) for record in search.records],
    ]


def _on_public_data(search: Facts, record: Record) -> str:
    config = pareto.flatten(record.config)
    pairs = [*[(path, words.setting(config.get(path))) for path in search.searched], ("seed", str(record.seed))]
    return page.folded(
        f"{record.id}: {record.method} as for budget {record.budget.epsilon:g}", [*pairs, *_effort(record)]
    )
