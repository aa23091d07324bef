"""What the verbs `plan` and `sweep` do, for scripts and notebooks: `from privimage import Sweep, plan, run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from privimage.analysis.results import Run
from privimage.errors import NotDone
from privimage.paths import Root
from privimage.pull import pull
from privimage.sweeps import interrupt
from privimage.sweeps.extra import check_installed

if TYPE_CHECKING:
    from privimage.sweeps.plan import Plan
    from privimage.sweeps.sweep import Sweep


def plan(sweep: Sweep, *, root: str | Path = "runs") -> Plan:
    """What the sweep would ask and cost, before anything is asked: opens no sensitive data, charges nothing.

    What would be refused is a refusal in the plan. Raises InputError if `root` is no folder.
    """
    from privimage.sweeps.plan import make_plan

    found = Root.at(root)
    pull(found.run(sweep.name).path)
    return make_plan(sweep, root=found)


def run(sweep: Sweep, *, root: str | Path = "runs", address: str | None = None, quiet: bool = False) -> Run:
    """The run of the sweep, or what was left of it: the same call after a crash goes on where it was.

    `address` is HOST:PORT of a Ray cluster, or auto; this machine if None. `quiet`: no progress on standard error.

    Raises InputError before anything is charged if it cannot be run; NotDone if trials failed; KeyboardInterrupt
    if Ctrl-C asks it to stop, which a sweep hears in the main thread only. After either, the same call goes on.
    """
    check_installed()
    from privimage.sweeps.run import run_sweep

    with interrupt.heard():
        outcome = run_sweep(sweep, root=Root.at(root), address=address, quiet=quiet)
    if outcome.failures:
        said = f"{outcome.folder.path}: not done; mend what failed, and run the same command again"
        raise NotDone(said, failures=outcome.failures)
    return Run(outcome.folder.path)
