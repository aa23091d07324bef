"""Resources of one trial, and how many trials run at once: a pure function of the scarcest resource."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from privimage.errors import InputError
from privimage.schema import Frozen

DRIVER_CPU = 0.01  # of a trial whose work is done by Ray Train workers: it only waits


class Resources(Frozen):
    """What one trial gets: `workers` processes, each with `cpu` cores and `gpu` GPUs."""

    workers: int = Field(default=1, ge=1)
    cpu: float = Field(default=1, gt=0)
    gpu: float = Field(default=0, ge=0)

    @property
    def device(self) -> str:
        """The device of every worker."""
        return "cuda" if self.gpu > 0 else "cpu"


def trials_at_once(resources: Resources, available: Mapping[str, float]) -> int:
    """How many trials fit side by side, drivers included.

    Raises InputError if not even one does.

    >>> trials_at_once(Resources(cpu=1), {"CPU": 4})
    4
    >>> trials_at_once(Resources(workers=2, cpu=1), {"CPU": 4})
    1
    >>> trials_at_once(Resources(workers=2, cpu=1, gpu=1), {"CPU": 64, "GPU": 8})
    4
    """
    own_processes = resources.workers > 1
    cpu = resources.workers * resources.cpu + (DRIVER_CPU if own_processes else 0)
    fits = available.get("CPU", 0) / cpu
    if resources.gpu > 0:
        fits = min(fits, available.get("GPU", 0) / (resources.workers * resources.gpu))
    if int(fits + 1e-9) < 1:
        raise InputError(
            f"resources: one trial needs {cpu:g} CPU and {resources.workers * resources.gpu:g} GPU, but Ray has "
            f"{available.get('CPU', 0):g} CPU and {available.get('GPU', 0):g} GPU; lower workers, cpu or gpu"
        )
    return int(fits + 1e-9)
