"""Side by side: the comparison of two runs as Markdown, and what has to be said of it."""

from __future__ import annotations

from collections.abc import Sequence

from privimage.analysis import changes, price, spend, typeset, words
from privimage.analysis.compare import Best, Comparison, Side, Volumes
from privimage.analysis.hypervolume import CONFIDENCE, Interval
from privimage.metrics.metric import Metric
from privimage.privacy import guarantee
from privimage.privacy.budget import Budget

NONE = words.number(None)


def markdown(found: Comparison) -> str:
    """Four parts: what to state, what changed, the fronts, the spend."""
    parts = [
        [f"# {found.a.named} and {found.b.named}", "", *_bullets(statements(found))],
        ["## What changed", "", *_changed(found)],
        ["## Front against front", "", *_fronts(found), "", *_volumes(found), "", *_bullets(_read(found))],
        ["## Spend against spend", "", *_spent(found), "", *_bullets(_ledgers(found))],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def statements(found: Comparison) -> list[str]:
    """What has to be stated of each, and who sees both; what has no result yet."""
    lines = []
    for side in found.sides:
        said = [*price.contradictions(side.found), guarantee.sentences(side.found.bill)[0]]
        missing = side.found.rows_without_result
        lacks = [f"Comparison rows without a result, failed or not run: {words.listed(missing)}."] if missing else []
        lines += [f"{side.named}: {line}" for line in (*said, *side.found.said.unfinished(side.found), *lacks)]
    if any(price.contradictions(side.found) for side in found.sides):
        return lines
    runs = [side.found for side in found.sides]
    deltas = sorted({delta for run in runs for delta in run.bill.deltas}, reverse=True)
    both = [f"epsilon {words.epsilon(price.together(runs, delta))} at delta {delta:g}" for delta in deltas]
    return [
        *lines,
        f"Both asked the same images, so their prices add up: whoever sees this comparison is given at most "
        f"{words.listed(both)}{_twice(found)}.",
    ]


def _twice(found: Comparison) -> str:
    """What that sum takes twice. Their ledger does not, if it is one."""
    a, b = (side.found.folder.root.path.resolve() for side in found.sides)
    return "; an answer that both used is counted twice in that, and once in their ledger, below" if a == b else ""


def _changed(found: Comparison) -> list[str]:
    gone = changes.without_sweep(found.a.found, found.b.found)
    warn = [
        f"- {run.folder.path} has no {run.folder.sweep.name}: only the settings of methods are compared."
        for run in gone
    ]
    if not found.changed:
        return [*warn, "Nothing but the name."]
    rows = [[change.field, change.a, change.b] for change in found.changed]
    return [*typeset.grid(["field", found.a.named, found.b.named], rows), *([""] if warn else []), *warn]


def _fronts(found: Comparison) -> list[str]:
    """A line a metric and budget: the best row of each run with its settings, and the difference."""
    rows = []
    for metric in found.metrics:
        name = f"{words.metric(metric)} {words.ARROWS[metric.direction]}"
        for budget in found.budgets:
            a, b = (side.best(budget, metric) for side in found.sides)
            rows.append([name, _at(found, budget), _best(a), _best(b), _difference(metric, a, b)])
    return typeset.grid(["metric", "epsilon", found.a.named, found.b.named, "difference"], rows, right=(1,))


def _at(found: Comparison, budget: Budget) -> str:
    return f"{budget.epsilon:g}" + (f", delta {budget.delta:g}" if len(found.deltas) > 1 else "")


def _best(best: Best | None) -> str:
    if best is None:
        return NONE
    behind = "" if best.behind is None else f"; no better than at epsilon {best.behind:g}"
    return f"{typeset.number(best.cell)} {best.row.label}{behind}"


def _difference(metric: Metric, a: Best | None, b: Best | None) -> str:
    """How the second stands to the first, and whether that can be told from chance."""
    if a is None or b is None:
        return NONE
    gap = b.cell.mean - a.cell.mean
    if gap == 0:
        return "the same"
    better = "better" if (gap < 0) == (metric.direction == "min") else "worse"
    return f"{gap:+.3g}, {better if b.value.told_from(a.value) else 'not told apart'}"


def _volumes(found: Comparison) -> list[str]:
    volumes = list(found.volumes)
    if not volumes:
        why = "budgets have several deltas, and so epsilons of several kinds" if len(found.deltas) > 1 else "no box"
        return [f"No hypervolume: {why}."]
    rows = [[_by(one), _interval(one.a), _interval(one.b), _told(one)] for one in volumes]
    heads = ["hypervolume ↑ by epsilon and", found.a.named, found.b.named, "difference"]
    point = words.listed(list(dict.fromkeys(part for one in volumes for part in one.reference)))
    return [
        *typeset.grid(heads, rows), "",
        "The share of the box between the best corner and the reference point that a front dominates, epsilon on a "
        f"logarithmic axis. The reference point: {point}.",
    ]  # fmt: skip


def _by(volumes: Volumes) -> str:
    return words.listed([words.metric(metric) for metric in volumes.metrics])


def _interval(found: Interval) -> str:
    n = f"({found.n})"
    return f"{found.mean:.3f} {n}" if found.half is None else f"{found.mean:.3f} ± {found.half:.3f} {n}"


def _told(volumes: Volumes) -> str:
    difference = volumes.difference
    if difference.half is None:
        return f"{difference.mean:+.3f}, no interval"
    said = ("better" if difference.mean > 0 else "worse") if volumes.told else "not told apart"
    return f"{difference.mean:+.3f} ± {difference.half:.3f}, {said}"


def _read(found: Comparison) -> list[str]:
    """How the fronts are to be read."""
    lines = [
        "The best row of each run at a budget, by its mean ± its standard error, repetitions in brackets: a choice by "
        "these figures on both sides, which favours the run that tried more.",
        *_tried(found),
        *_axes(found),
        *_repeated(found),
        *found.missing,
    ]
    touched = [metric for metric in found.metrics if metric.non_private]
    return [*lines, *([f"{words.LEGEND} Each is a look at {words.touched(touched)}."] if touched else [])]


def _tried(found: Comparison) -> list[str]:
    """Which run had more rows to choose from, if one had. In a private selection that is its secret."""
    if not all(side.found.said.timed for side in found.sides):
        return []
    a, b = (len(side.table.rows) for side in found.sides)
    return [f"{found.a.named} has {words.count(a, 'row')} to choose from, {found.b.named} {b}."] if a != b else []


def _axes(found: Comparison) -> list[str]:
    axes = ["all of the run together" if s.found.bill.together else s.found.said.axis for s in found.sides]
    if axes[0] == axes[1]:
        return [f"Epsilon here is that of {axes[0]}; what has to be stated is said first."]
    named = [f"in {side.named} that of {axis}" for side, axis in zip(found.sides, axes, strict=True)]
    return [f"WARNING: epsilon is {words.listed(named)}: the two axes are not the same."]


def _repeated(found: Comparison) -> list[str]:
    """What the intervals are over, and what they leave out."""
    volumes = list(found.volumes)
    single = [s.named for s, n in zip(found.sides, _repetitions(volumes), strict=True) if n == 1]
    lines = []
    if single:
        lines.append(
            f"{words.listed(single)}: one repetition, so how far chance moves its front is unknown, and the difference "
            "of hypervolumes has no interval. Sweep with several `seeds`."
        )
    if len(single) < 2 and volumes:
        lines.append(
            f"± of a hypervolume is its {CONFIDENCE:.0%} interval over repetitions (seeds), by Student's t; of the "
            "difference by Welch's."
        )
    if any(cell.shares_noise for side in found.sides for row in side.table.rows for cell in row.cells.values()):
        lines.append("Seeds of one run share one noisy answer: another draw of it may move every number.")
    return lines


def _repetitions(volumes: Sequence[Volumes]) -> tuple[int, int]:
    return (volumes[0].a.n, volumes[0].b.n) if volumes else (0, 0)


def _spent(found: Comparison) -> list[str]:
    """A line a kind of expense."""
    deltas = sorted({delta for side in found.sides for delta in side.found.bill.deltas}, reverse=True)
    rows = [
        [f"epsilon of everything, delta {delta:g}", *(_everything(side, delta) for side in found.sides)]
        for delta in deltas
    ]
    rows += [
        ["what that pays for", *(words.listed(guarantee.asked_for(side.found.bill)) for side in found.sides)],
        *_generators(found),
        *_looks(found),
        *_effort(found),
    ]
    return typeset.grid(["", found.a.named, found.b.named], rows)


def _everything(side: Side, delta: float) -> str:
    if price.contradictions(side.found):
        return "does not hold"
    return words.epsilon(side.found.bill.epsilon(delta)) if delta in side.found.bill.deltas else NONE


def _generators(found: Comparison) -> list[list[str]]:
    """What is enough to state beside one generator whose budget was named beforehand, where that is less."""
    rows = []
    for budget in found.budgets:
        cells = [_alone(side, budget) for side in found.sides]
        if set(cells) != {NONE}:
            rows.append([f"the generator at budget {_at(found, budget)} alone", *cells])
    return rows


def _alone(side: Side, budget: Budget) -> str:
    bill = side.found.bill
    if price.contradictions(side.found) or not any(study.budget == budget and study.search for study in bill.studies):
        return NONE
    least = guarantee.of_generator(bill, budget).epsilon
    return words.epsilon(least) if least < bill.epsilon(budget.delta) else NONE


def _looks(found: Comparison) -> list[list[str]]:
    """Values that were computed without noise, which no epsilon covers."""
    each = [{(look.metric, look.split): look.values for look in spend.looks(side.found)} for side in found.sides]
    return [
        [f"without noise: {what}, {split} split", *(str(seen.get((what, split), 0)) for seen in each)]
        for what, split in dict.fromkeys([*each[0], *each[1]])
    ]


def _effort(found: Comparison) -> list[list[str]]:
    """Time and memory; not beside a private selection, where they tell the number of its trials."""
    if not all(side.found.said.timed for side in found.sides):
        return []
    records = [side.found.records for side in found.sides]
    peaks = [max((stage.peak_mib for r in each for stage in r.stages), default=None) for each in records]
    return [
        ["trials with a result", *(str(len(each)) for each in records)],
        ["hours of trials", *(words.number(sum(r.seconds for r in each) / 3600, digits=3) for each in records)],
        ["peak memory, MiB", *(words.number(peak, digits=4) for peak in peaks)],
    ]


def _ledgers(found: Comparison) -> list[str]:
    """What the ledgers say, once where it is one ledger of one root."""
    said = [(side.named, line) for side in found.sides for line in spend.ledger_sentences(side.found)]
    lines = [line for _, line in said]
    return list(dict.fromkeys(line if lines.count(line) > 1 else f"{named}: {line}" for named, line in said))


def _bullets(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]
