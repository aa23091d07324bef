"""The document of `plan`: what a sweep would ask, cost and take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from privimage.privacy import guarantee
from privimage.privacy.guarantee import Guarantee
from privimage.privacy.modes import ModeName
from privimage.record import finite
from privimage.schema import Frozen
from privimage.sweeps.cli.documents.document import Document
from privimage.sweeps.plan import QUANTILES, Plan, Quote

if TYPE_CHECKING:
    from privimage.sweeps.estimate import Estimate

SHARES = tuple(f"{share:g}" for share in QUANTILES)


class PlannedPart(Frozen):
    """One thing that is asked of a split of the sensitive set; its epsilon if nothing else were asked."""

    what: str
    split: str
    epsilon_alone: float | None


class PlannedBudget(Frozen):
    """The search at one budget: its parts, and what it costs with the shared answers; or why it is refused."""

    epsilon: float
    delta: float
    parts: tuple[PlannedPart, ...]
    together: float | None
    refusal: str | None


class PlannedSize(Frozen):
    """What so many trials cost at a budget. `k`: of the number of trials where only the best is shown, by share."""

    budget: float
    trials: int
    all_shown: float | None
    only_best_shown: float | None
    k: dict[str, int]


class PlannedStage(Frozen):
    """How often a stage of the search is computed at most, and by how many trials it is needed."""

    stage: str
    computed_at_most: int
    needed: int


class PlannedSettings(Frozen):
    """The fields of a row, or of another method of the search, that differ from the sweep's own method."""

    method: str
    values: dict[str, Any]


class PlannedEffort(Frozen):
    """About what it takes on this machine."""

    seconds: tuple[float, float]  # between these
    trials_at_once: int
    memory_mib: float
    disk_mib: float
    dearest_stage: str


class PlanDocument(Document):
    """`refusal` is why the sweep would not run, None where it would. `not_estimated` says why there is no `effort`."""

    document: Literal["plan"] = "plan"
    sweep: str
    mode: ModeName
    rules: str
    refused: bool
    refusal: str | None
    guarantees: tuple[Guarantee, ...]
    budgets: tuple[PlannedBudget, ...]
    asked_before: tuple[str, ...]
    sizes: tuple[PlannedSize, ...]
    stages: tuple[PlannedStage, ...]
    settings: tuple[PlannedSettings, ...]
    ignored: tuple[str, ...]
    effort: PlannedEffort | None
    not_estimated: str | None


def plan_document(made: Plan, *, told: Estimate | str | None) -> PlanDocument:
    """What the plan says, and what was `told` of the time that it takes."""
    bill, sweep = made.bill, made.sweep
    return PlanDocument(
        sweep=sweep.name,
        mode=sweep.tuning.mode,
        rules=sweep.tuning.rules,
        statement=() if bill is None else tuple(guarantee.sentences(bill)),
        warnings=() if sweep.unmeasured is None else (sweep.unmeasured,),
        refused=made.refused,
        refusal=made.why,
        guarantees=() if bill is None else guarantee.all_of(bill),
        budgets=tuple(map(_budget, made.quotes)),
        asked_before=made.paid,
        sizes=tuple(
            PlannedSize(
                budget=row.budget.epsilon, trials=row.trials, all_shown=finite(row.all_shown),
                only_best_shown=finite(row.best_only), k=dict(zip(SHARES, row.quantiles, strict=True)),
            )
            for row in made.totals
        ),
        stages=tuple(PlannedStage(stage=s.stage, computed_at_most=s.computed, needed=s.needed) for s in made.stages),
        settings=tuple(PlannedSettings(method=row.method, values=dict(row.values)) for row in made.settings),
        ignored=made.ignored,
        effort=_effort(told) if told is not None and not isinstance(told, str) else None,
        not_estimated=told if isinstance(told, str) else None,
    )  # fmt: skip


def _budget(quote: Quote) -> PlannedBudget:
    parts = (PlannedPart(what=p.what, split=p.split, epsilon_alone=finite(p.epsilon)) for p in quote.parts)
    return PlannedBudget(
        epsilon=quote.budget.epsilon,
        delta=quote.budget.delta,
        parts=tuple(parts),
        together=None if quote.refusal else finite(quote.total),
        refusal=quote.refusal,
    )


def _effort(told: Estimate) -> PlannedEffort:
    return PlannedEffort(
        seconds=told.between, trials_at_once=told.at_once, memory_mib=told.mib, disk_mib=told.disk,
        dearest_stage=told.dearest,
    )  # fmt: skip
