"""Run: what a run left, as one object for scripts and notebooks, each method the verb of that name.

What draws or needs tables is imported where it is asked for: to see what was paid takes none of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from privimage.analysis import facts, price, spend
from privimage.bucket import is_bucket
from privimage.errors import InputError
from privimage.local import local_path
from privimage.paths import RunFolder
from privimage.privacy import guarantee
from privimage.privacy.guarantee import Guarantee
from privimage.pull import pulled_run

if TYPE_CHECKING:
    import pandas as pd

    from privimage.analysis.synthesise import Bundle


class Run:
    """A run by its folder, e.g. runs/demo; `files` says what lies where in it. Every call reads what is there by then.

    All of it raises InputError in one line: where there is no run, no finished trial yet, or a damaged file.
    """

    def __init__(self, folder: str | Path) -> None:
        path = pulled_run(str(folder)) if is_bucket(folder) else local_path(folder, named="RUN")
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; expected the folder of a run, e.g. runs/demo")
        self.files = RunFolder(path=path)

    def __repr__(self) -> str:
        return f"Run({str(self.files.path)!r})"

    def trials(self) -> pd.DataFrame:
        """One row a finished trial, oldest first: what it was, its prices, what was searched, metrics, seconds.

        `epsilon_to_state` is what has to be stated beside its images; `not_private` names the columns that no epsilon
        covers. Of a private selection there is the winner alone, without times.
        """
        from privimage.analysis import tables

        return tables.trials(facts.read(self.files))

    def front(self, *, metric: str | None = None) -> pd.DataFrame:
        """The best trial of every budget and method by a metric (the first objective if None), and chance.

        The run's folder then has front.png, and front.csv with all trials.
        """
        from privimage.analysis.front import write_front

        return write_front(self.files, metric=metric)

    def report(self) -> Path:
        """The path of the report, one HTML file, now written."""
        from privimage.analysis.report import write_report

        return write_report(self.files)

    def best(self, *, to: str | Path, metric: str | None = None, epsilon: float | None = None) -> Bundle:
        """The best generator of the search at a budget's epsilon (any if None), now in the new or empty folder `to`.

        Of a run without a search it is that of a comparison row. Without a metric the first accuracy that was measured
        without noise decides; the first objective where there is none, or where that is a noisy score.
        """
        from privimage.analysis.export import pull_best

        return pull_best(self.files, epsilon=epsilon, metric=metric, to=local_path(to, named="to"))

    def guarantees(self) -> tuple[Guarantee, ...]:
        """All that can be stated of the run: of everything, at every delta; then of generators alone, if that is less.

        Of each `epsilon`, `delta`, what it `covers` and `why`; its `sentence` is what has to be said.
        """
        return guarantee.all_of(facts.begun(self.files).bill)

    def statement(self) -> list[str]:
        """What has to be stated and why, in sentences that stand first wherever results are shown."""
        return price.opening(facts.begun(self.files))

    def spend(self) -> list[str]:
        """What the total means and on what it rests, and what the ledger says was paid, in sentences."""
        found = facts.begun(self.files)
        return [*price.terms(found), *spend.ledger_sentences(found)]
