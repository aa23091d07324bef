"""Mode public: the search on a public stand-in, and the settings that it hands to the runs on the sensitive set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from privimage import reconcile
from privimage.data import SensitiveConfig
from privimage.data.pair import DataConfig, load_data
from privimage.data.sets import PublicSet, check_apart
from privimage.disk import write_whole
from privimage.errors import InputError, TrialFailed, Violation
from privimage.paths import RunFolder
from privimage.plain_json import read_json
from privimage.privacy.budget import Budget
from privimage.privacy.contents import Contents
from privimage.record_file import so_far
from privimage.sweeps.modes.explore import Explore
from privimage.sweeps.modes.public import Public
from privimage.sweeps.past import Ended, ended
from privimage.sweeps.phase import Phase
from privimage.sweeps.price import bill_of, least_sigmas
from privimage.sweeps.resume import RESTORE, at_revision
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.tried import Params
from privimage.sweeps.work import Terms, Work
from privimage.trial import Trial


def search_then_run(work: Work) -> Iterator[Phase]:
    """The search on the stand-in, then its best settings on the sensitive set, beside the comparison rows."""
    search = _on_stand_in(work)

    def phases() -> Iterator[Phase]:
        search.folder.path.mkdir(parents=True, exist_ok=True)
        search.write()
        yield Phase(work=search, name="search on the public stand-in", searching=True)
        finals = tuple(final_trials(work.terms, search=search.terms, folder=search.folder))
        yield Phase(work=work, name="sweep", rows=work.rows, finals=finals)

    return phases()


def _on_stand_in(work: Work) -> Work:
    """The same work on the public stand-in, checked like the sensitive one."""
    sweep = stand_in_sweep(work.sweep, labels=len(work.sensitive.train.classes))
    folder, asked = work.folder.stand_in, least_sigmas(sweep)
    public, sensitive = load_data(sweep.data, root=work.folder.root)
    if sensitive.content:  # public, so other images under its id are no mistake
        contents = Contents(work.folder.root, sweep.data.sensitive.id)
        sweep = at_revision(sweep, contents.adopt(sensitive.content))
    for part in (sensitive.train, sensitive.validation, sensitive.test):
        shown = PublicSet(x=part.x, y=part.y, name=part.name, classes=part.classes)
        check_apart(shown, work.sensitive, key="tuning.stand_in")
    search = replace(
        work, sweep=sweep, folder=folder, asked=asked, bill=bill_of(sweep, asked_sigma=asked),
        public=public, sensitive=sensitive,
    )  # fmt: skip
    id = sweep.data.sensitive.id
    reconcile.adopt(folder.root, id, reconcile.missing(folder.root, id))  # public data: nothing was paid
    try:
        search.check()
    except InputError as error:
        raise InputError(f"tuning.stand_in: {error}") from None
    return search


def stand_in_sweep(sweep: Sweep, *, labels: int) -> Sweep:
    """The same search with public data in place of the sensitive set, and without comparison rows."""
    tuning = sweep.tuning
    sensitive = sweep.data.sensitive
    if not isinstance(tuning, Public) or not isinstance(sensitive, SensitiveConfig):
        raise Violation("only a sweep of mode public on a sensitive set has a stand-in")
    stand_in = tuning.stand_in.config(sensitive, labels=labels)
    data = DataConfig(sensitive=stand_in, public=sweep.data.public, stand_in=True)
    explore = Explore(sampler=tuning.sampler, seed=tuning.seed)
    return sweep.model_copy(update={"data": data, "tuning": explore, "compare": ()})


def final_trials(terms: Terms, *, search: Terms, folder: RunFolder) -> Iterator[Trial]:
    """One trial a budget and seed on the sensitive set, with the best settings that the `search` found in `folder`.

    The settings are kept before the first of them is run: whatever changes later, no others are run as well. Raises
    TrialFailed if the search has no result for a budget.
    """
    if not folder.settings.exists():
        found = ended(search, so_far(folder.records))
        chosen = [_best_settings(search.sweep, *at) for at in zip(search.sweep.budgets, found, strict=True)]
        write_whole(folder.settings, json.dumps(chosen, indent=1) + "\n")
    sweep = terms.sweep
    for budget, settings in zip(sweep.budgets, _kept(sweep, folder), strict=True):
        noise = terms.bill.study(budget).noise
        for seed in sweep.seeds:
            yield sweep.trial(
                budget=budget, seed=seed, asked_sigma=terms.asked, noise=noise, overrides=settings, scored=False
            )


def _kept(sweep: Sweep, folder: RunFolder) -> list[dict[str, Any]]:
    """The settings that the search ended in, by budget. Raises InputError if their file is damaged."""
    try:
        found = read_json(folder.settings.read_bytes())
    except ValueError:
        found = None
    if isinstance(found, list) and len(found) == len(sweep.budgets) and all(isinstance(one, dict) for one in found):
        return found
    raise InputError(f"{folder.settings}: damaged, and what it holds is run on the sensitive set; {RESTORE}")


def _best_settings(sweep: Sweep, budget: Budget, done: Sequence[Ended]) -> Params:
    """The values of the best of these configurations by the first objective, the earliest among equals."""
    objective, direction = next(iter(sweep.objectives.items()))
    known = [one for one in done if objective in one.values]
    if not known:
        raise TrialFailed(f"the search on the stand-in has no result at budget {budget}; run the same command again")
    return (min if direction == "min" else max)(known, key=lambda one: one.values[objective]).params
