"""What went wrong with a trial, in one line with the fix: Ray's own account of it is a screen long."""

from __future__ import annotations

import re
from typing import Any

from ray import tune
from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

from privimage import errors
from privimage.errors import PrivImageError

AGAIN = "run the same command again"
KILLED = re.compile(r"ActorDiedError|ActorUnavailableError|WorkerCrashedError|NodeDiedError|OwnerDiedError")
MEMORY = re.compile(r"OutOfMemoryError|out of memory|node running low on memory", re.IGNORECASE)
OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
LAST = re.compile(rf"^(?:[\w.]+\.)?({'|'.join(sorted(OURS))}|\w+(?:Error|Exception|Interrupt)): (.*)", re.MULTILINE)


class Failed(tune.Callback):  # type: ignore[misc]
    """Keeps the trials that failed: Tune's own results tell the job only of a trial that has reported before."""

    def __init__(self) -> None:
        self._trials: list[Any] = []

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune at the last failure of a trial."""
        self._trials.append(trial)

    @property
    def errors(self) -> list[tuple[dict[str, Any], BaseException]]:
        """Of every failed trial its config and what Tune kept of its error, once all have ended."""
        return [(trial.config, trial.get_pickled_error() or trial.get_error()) for trial in self._trials]


def failure(error: BaseException | None, *, where: str) -> str:
    """The line on an `error` that Ray Tune gives back for the trial at `where`."""
    text = str(error)
    if isinstance(error, RayTaskError) and isinstance(error.cause, PrivImageError):
        return f"{where}: {_flat(str(error.cause))}"
    if MEMORY.search(text):
        return (
            f"{where}: out of memory; {AGAIN} with fewer trials at once (a larger resources.cpu), or a smaller "
            "method.finetune.physical_batch"
        )
    if isinstance(error, RayActorError | WorkerCrashedError) or KILLED.search(text):
        return f"{where}: its worker process or its machine was killed, twice; {AGAIN} (if it was memory: more of it)"
    named = list(LAST.finditer(text))
    if not named:
        return f"{where}: {_flat(text)[-300:]}; {AGAIN}"
    kind, said = named[-1].groups()
    return f"{where}: {_flat(said)}" if kind in OURS else f"{where}: {kind}: {_flat(said)}; {AGAIN}"


def _flat(text: str) -> str:
    return " ".join(text.split())
