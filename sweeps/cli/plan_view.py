"""How a plan looks in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from privimage.privacy.guarantee import sentences
from privimage.privacy.statement import epsilon as exact
from privimage.sweeps.plan import Plan, Quote
from privimage.text import PLAIN


def show(plan: Plan, out: Console) -> None:
    """Print what would have to be stated, then the price of budgets and of other numbers of trials, and the stages."""
    if plan.bill is not None:
        for sentence in sentences(plan.bill):
            out.print(sentence, **PLAIN)
        out.print()
    tuning = plan.sweep.tuning
    out.print(f"{plan.sweep.name}: {tuning.title}: {tuning.rules}", **PLAIN)
    for quote in plan.quotes:
        _quote(quote, out)
    _ledger(plan, out)
    _sizes(plan, out)
    _settings(plan, out)
    _stages(plan, out)
    _refusal(plan, out)


def _quote(quote: Quote, out: Console) -> None:
    out.print()
    out.print(f"budget {quote.budget}", **PLAIN)
    if quote.refusal is not None:
        out.print(f"  REFUSED: {quote.refusal}", **PLAIN)
        return
    table = Table("asked of the sensitive set", "split", "epsilon alone")
    table.columns[2].justify = "right"
    for part in quote.parts:
        table.add_row(part.what, part.split, exact(part.epsilon))
    out.print(table)
    if any(part.split != "training" for part in quote.parts):
        out.print("  No image is in both splits, so only the dearer of the two counts.", **PLAIN)
    out.print(f"  the search and its shared answers together: epsilon {exact(quote.total)}", **PLAIN)


def _refusal(plan: Plan, out: Console) -> None:
    """Last, where it is seen."""
    if plan.refused:
        out.print()
        out.print(f"REFUSED: {plan.why}", **PLAIN)
        out.print("The sweep would be refused, and nothing would be charged.", **PLAIN)


def _ledger(plan: Plan, out: Console) -> None:
    if not plan.paid:
        return
    out.print()
    out.print(f"What was asked of {plan.sweep.data.sensitive.id} before, by all sweeps:", **PLAIN)
    for sentence in plan.paid:
        out.print(f"  {sentence}", **PLAIN)


def _sizes(plan: Plan, out: Console) -> None:
    if not plan.totals:
        return
    out.print()
    seeds = len(plan.sweep.seeds)
    times = f" with {seeds} seeds each" if seeds > 1 else ""
    out.print(f"Sizes of the search, each trial{times} with the noise of a single run at its budget:", **PLAIN)
    table = Table("budget", "trials", "all shown", "only the best shown", "K: half of the time", "9 of 10", "99 of 100")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in plan.totals:
        limits = [f"<= {k}" for k in row.quantiles]
        table.add_row(f"{row.budget.epsilon:g}", str(row.trials), exact(row.all_shown), exact(row.best_only), *limits)
    out.print(table)


def _settings(plan: Plan, out: Console) -> None:
    for dotted in plan.ignored:
        out.print()
        out.print(f"search.{dotted}: changes nothing in what is searched: no stage uses it", **PLAIN)
    if plan.sweep.unmeasured:
        out.print()
        out.print(plan.sweep.unmeasured, **PLAIN)
    if not plan.settings:
        return
    out.print()
    out.print("Settings of their own, found on public data or given in the row:", **PLAIN)
    for row in plan.settings:
        values = ", ".join(f"{dotted} {value}" for dotted, value in row.values.items())
        out.print(f"  {row.method}: {values}", **PLAIN)


def _stages(plan: Plan, out: Console) -> None:
    out.print()
    out.print(plan.sweep.tuning.stages, **PLAIN)
    table = Table("stage", "computed at most", "needed by trials")
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in plan.stages:
        table.add_row(stage.stage, str(stage.computed), str(stage.needed))
    out.print(table)
