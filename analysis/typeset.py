"""Typeset: a table of results as Markdown, as CSV and as LaTeX, with what has to be said below it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from privimage.analysis import price, words
from privimage.analysis.facts import Facts
from privimage.analysis.repetitions import Cell
from privimage.analysis.table import Place, ResultTable, TableRow
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.privacy import guarantee

COLUMNS = (
    "method", "settings", "private", "own_epsilon", "budget_epsilon", "budget_delta", "metric", "direction",
    "not_private", "mean", "standard_error", "repetitions", "draws", "best", "epsilon_to_state",
)  # fmt: skip
TEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "†": r"\dag{}", "±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--", '"': "''",
}  # fmt: skip


def markdown(table: ResultTable) -> str:
    """A table of Markdown, and what has to be said as a list below it."""
    heads = ["method", *(_head(table, place) for place in table.places)]
    body = grid(heads, _lines(table, bold=lambda text: f"**{text}**"), right=range(1, len(heads)))
    return "\n".join([*body, "", *(f"- {note}" for note in notes(table)), ""])


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Container[int] = ()) -> list[str]:
    """The lines of a table of Markdown, some columns set to the right."""
    rule = ["---:" if at in right else "---" for at in range(len(heads))]
    return [f"| {' | '.join(part.replace('|', chr(92) + '|') for part in line)} |" for line in (heads, rule, *rows)]


def latex(table: ResultTable) -> str:
    """A tabular of plain LaTeX, no package needed, and what has to be said as a list of small print below it."""
    width = len(table.metrics)
    over = [rf"\multicolumn{{{width}}}{{c}}{{{tex(table.at(budget))}}}" for budget in table.budgets]
    heads = ["method", *(tex(_metric(table.metrics[name])) for _, name in table.places)]
    private = len(table.rows)
    rows = [tex_row(line) for line in _lines(table, bold=_bold, text=tex)]
    return "\n".join([
        rf"\begin{{tabular}}{{l{'r' * len(table.places)}}}", r"\hline", tex_row(["", *over]), tex_row(heads),
        r"\hline", *rows[:private], r"\hline", *rows[private:], r"\hline", r"\end{tabular}", "",
        r"\begin{itemize}\footnotesize", *(rf"\item {tex(note)}" for note in notes(table)), r"\end{itemize}", "",
    ])  # fmt: skip


def tex(text: str) -> str:
    """The text with everything escaped that LaTeX would read as something else.

    >>> print(tex("method_x: 5% of [a]"))
    method\\_x: 5\\% of {[}a{]}
    """
    return "".join(TEX.get(char, char) for char in text)


def as_csv(table: ResultTable) -> str:
    """A line a number, for programs: `epsilon_to_state` is that of everything in the table together, where it holds."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    totals = {budget: table.together(budget.delta) for budget in table.budgets} if _holds(table) else {}
    for row in (*table.rows, *table.open_rows):
        for place, cell in row.cells.items():
            stated = totals.get(place[0]) if row.private else None
            writer.writerow(_record(table, row, place, cell) | {"epsilon_to_state": stated})
    return buffer.getvalue()


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex}
SUFFIXES = {".csv": "csv", ".tex": "latex", ".md": "markdown", "": "markdown"}


def format_of(name: str | None, *, to: Path | None) -> str:
    """The format of that name, or if None that of the file by its suffix. Raises InputError if there is none such."""
    if name is not None and name not in FORMATS:
        raise InputError(f"--format: got '{name}'; allowed: {', '.join(FORMATS)}")
    suffix = "" if to is None else to.suffix.lower()
    if name is None and suffix not in SUFFIXES:
        raise InputError(f"--to: got '{to}'; give a name in .md, .csv or .tex, or a --format")
    return name or SUFFIXES[suffix]


def _record(table: ResultTable, row: TableRow, place: Place, cell: Cell) -> dict[str, object]:
    budget, name = place
    metric = table.metrics[name]
    return {
        "method": row.method, "settings": ", ".join(row.parts), "private": row.private, "own_epsilon": row.cost,
        "budget_epsilon": budget.epsilon, "budget_delta": budget.delta, "metric": name, "direction": metric.direction,
        "not_private": not row.private or metric.non_private, "mean": cell.mean, "standard_error": cell.error,
        "repetitions": cell.n, "draws": cell.draws, "best": table.is_best(row, place),
    }  # fmt: skip


def number(cell: Cell) -> str:
    """The mean with its error, if it has one, rounded to two digits of that, and the number of repetitions.

    >>> number(Cell(mean=2.6834, error=0.1132, n=5, draws=5)), number(Cell(mean=0.98109, error=None, n=1, draws=1))
    ('2.68 ± 0.11 (5)', '0.9811 (1)')
    >>> number(Cell(mean=2.6834, error=0.0996, n=5, draws=5))
    '2.68 ± 0.10 (5)'
    """
    n = f"{cell.n} in {words.count(cell.draws, 'draw')}" if cell.shares_noise else str(cell.n)
    if not cell.error:
        return f"{words.number(cell.mean)}{'' if cell.error is None else ' ± 0'} ({n})"
    rounded = float(f"{cell.error:.1e}")  # 0.0996 is 0.10, and not 0.100
    decimals = min(8, max(0, 1 - math.floor(math.log10(rounded))))
    return f"{cell.mean:.{decimals}f} ± {cell.error:.{decimals}f} ({n})"


def notes(table: ResultTable) -> list[str]:
    """What has to be said below the table: what to state first, then how it is to be read."""
    return [*statements(table), *_marked(table), *_spread(table), *_chosen(table)]


def statements(table: ResultTable) -> list[str]:
    """What must be stated for every run, and for all of them where they are several; what has no result yet."""
    said: dict[tuple[str, ...], list[Facts]] = {}
    for found in table.runs:
        stated = (*price.contradictions(found), guarantee.sentences(found.bill)[0])
        missing = found.rows_without_result
        lacks = (f"Comparison rows without a result, failed or not run: {words.listed(missing)}.",) if missing else ()
        said.setdefault((*stated, *found.said.unfinished(found), *lacks), []).append(found)
    lines = [
        f"{words.listed([str(found.folder.path) for found in runs])}{', each' if len(runs) > 1 else ''}: {sentence}"
        for sentences, runs in said.items()
        for sentence in sentences
    ]
    if len(table.runs) == 1 or not _holds(table):
        return lines
    deltas = sorted({delta for found in table.runs for delta in found.bill.deltas}, reverse=True)
    total = words.listed([f"epsilon {words.epsilon(table.together(delta))} at delta {delta:g}" for delta in deltas])
    return [
        *lines,
        f"These {len(table.runs)} runs asked the same images, so their prices add up: whoever sees this whole table is "
        f"given at most {total}, however one run was chosen in the light of another.",
    ]


def _holds(table: ResultTable) -> bool:
    """Whether the bills of all runs count what their records paid for: else nothing is stated for all together."""
    return not any(price.contradictions(found) for found in table.runs)


def _marked(table: ResultTable) -> list[str]:
    """What no epsilon covers, and rows that cost something else than their column."""
    dagger = [m for found in table.runs for r in found.records if r.private for m in r.metrics if m.non_private]
    looked = [f"{words.LEGEND} Each such figure is a look at {words.touched(dagger)}."] if dagger else []
    open_ = [f"The last rows have no privacy at all: {words.listed([row.label for row in table.open_rows])}."]
    fixed = [row for row in table.rows if not row.by_budget]
    own = [
        f"{words.listed([row.label for row in fixed])}: at the epsilon in brackets, that of one trial alone, whatever "
        "the budget; the figures are the same in every column that it fits in."
    ]
    return [*_columns(table), *looked, *(open_ if table.open_rows else []), *(own if fixed else [])]


def _columns(table: ResultTable) -> list[str]:
    """Whose epsilon stands above a column."""
    axes = dict.fromkeys("all of a run together" if f.bill.together else f.said.axis for f in table.runs)
    return [
        f"The epsilon of a column is the budget of {words.listed(list(axes))}; what has to be stated is said above."
    ]


def _spread(table: ResultTable) -> list[str]:
    """What a cell says of chance, and what it does not."""
    cells = [cell for row in (*table.rows, *table.open_rows) for cell in row.cells.values()]
    lines = [
        "A cell is the mean ± its standard error, with the number of repetitions in brackets; one number has no error. "
        "Repetitions differ in their seed, or are runs in folders of their own, with noise of their own; what is made "
        "without noise is the same in all of them and counts once."
    ]
    if any(cell.shares_noise for cell in cells):
        lines.append(
            "Trials of one folder of runs share one noisy answer: they are one draw. Where there are several draws, "
            "mean and error are those of the draws' means; where there is one, the error leaves out that of the answer."
        )
    tested = sorted({metric.of for metric in table.metrics.values() if metric.of is not None})
    if tested:
        lines.append(
            f"All repetitions are scored on the same {words.listed([str(n) for n in tested])} real images: what these "
            "add to the error is not in it."
        )
    return lines


def _chosen(table: ResultTable) -> list[str]:
    """How rows came to stand there, and what bold is."""
    lines = ["No row was chosen by its figures: every finished trial is in the row of its settings; all are shown."]
    names = {row.settled for row in table.rows} - {""}
    if names:
        lines[0] = (
            f"No row was chosen by its figures here: of {words.listed(sorted(names))} the row is the whole procedure, "
            "done anew in every run; of all else every finished trial is in the row of its settings, and all are shown."
        )
    bold = [
        f"In bold: the best mean of the {words.count(len(table.rows), 'row')} with a guarantee in a column. That is a "
        "choice by these figures; whoever repeats it should expect less."
    ]
    steered = dict.fromkeys(line for found in table.runs for line in found.said.steering(found))
    return [*lines, *steered, *(bold if len(table.rows) > 1 else [])]


def _head(table: ResultTable, place: Place) -> str:
    budget, name = place
    return f"{table.at(budget)}: {_metric(table.metrics[name])}"


def _metric(metric: Metric) -> str:
    return f"{words.metric(metric)} {words.ARROWS[metric.direction]}"


def _lines(table: ResultTable, *, bold: Callable[[str], str], text: Callable[[str], str] = str) -> list[list[str]]:
    """The cells of every row, its label first; at the end base rates."""
    lines = [
        [text(row.label), *(_cell(table, row, place, bold=bold, text=text) for place in table.places)]
        for row in (*table.rows, *table.open_rows)
    ]
    return [*lines, *([text(title), *_rates(table, rates, text)] for title, rates in table.bases)]


def _rates(table: ResultTable, rates: Mapping[str, float | None], text: Callable[[str], str]) -> list[str]:
    return [text(words.number(rates[name])) for _, name in table.places]


def _cell(
    table: ResultTable, row: TableRow, place: Place, *, bold: Callable[[str], str], text: Callable[[str], str]
) -> str:
    if place not in row.cells:
        return text(words.number(None))
    shown = text(number(row.cells[place]))
    return bold(shown) if table.is_best(row, place) else shown


def _bold(text: str) -> str:
    return rf"\textbf{{{text}}}"


def tex_row(cells: Sequence[str]) -> str:
    """A row of a tabular, of cells that are LaTeX."""
    return " & ".join(cells) + r" \\"
