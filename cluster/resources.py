"""Resources of one trial, and how many trials run at once: a pure function of the scarcest resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field, model_validator

from privimage.errors import InputError
from privimage.schema import Frozen

DRIVER_CPU = 0.01  # of a trial whose work is done by Ray Train workers: it only waits


class Resources(Frozen):
    """What one trial gets: `workers` processes, each with `cpu` cores and `gpu` GPUs."""

    workers: int = Field(default=1, ge=1)  # processes of one trial
    cpu: float = Field(default=1, gt=0)  # cores of each
    gpu: float = Field(default=0, ge=0)  # GPUs of each; a part of one is allowed
    cuda_graphs: bool = False  # on GPUs a step of DP-SGD is recorded once and played back (rounding may differ)

    @model_validator(mode="after")
    def _graphs_of_a_gpu(self) -> Self:
        if self.cuda_graphs and not self.gpu:
            raise ValueError("cuda_graphs: true needs a GPU; give gpu, or leave it out")
        return self

    @property
    def device(self) -> str:
        """The device of every worker."""
        return "cuda" if self.gpu > 0 else "cpu"


def trials_at_once(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials fit side by side on these nodes, drivers included; a worker is never split between nodes.

    Raises InputError if not even one does.

    >>> trials_at_once(Resources(cpu=1), [{"CPU": 4}])
    4
    >>> trials_at_once(Resources(cpu=3), [{"CPU": 4}, {"CPU": 4}])
    2
    >>> trials_at_once(Resources(workers=2, cpu=1, gpu=1), [{"CPU": 64, "GPU": 8}])
    4
    """
    fits = sum(_workers(node, resources) for node in nodes) // resources.workers
    while fits and not _fit(fits, resources, nodes):
        fits -= 1
    if fits:
        return fits
    needs = f"{resources.cpu:g} CPU and {resources.gpu:g} GPU"
    needs = needs if resources.workers == 1 else f"{resources.workers} workers, each with {needs}"
    largest = ", ".join(sorted({f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes}))
    raise InputError(
        f"resources: one trial needs {needs}, each on one node, but Ray has {len(nodes)} nodes: {largest or 'none'}; "
        "lower workers, cpu or gpu"
    )


def _fit(trials: int, resources: Resources, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether so many trials find room at the same time: first their workers, then their drivers beside them."""
    workers, drivers = trials * resources.workers, trials if resources.workers > 1 else 0
    for node in nodes:
        taken = min(workers, _workers(node, resources))
        workers -= taken
        drivers -= min(drivers, _times(node.get("CPU", 0.0) - taken * resources.cpu, DRIVER_CPU))
    return workers == 0 and drivers == 0


def _workers(node: Mapping[str, float], resources: Resources) -> int:
    """How many workers fit on a node."""
    cpu = _times(node.get("CPU", 0.0), resources.cpu)
    return min(cpu, _times(node.get("GPU", 0.0), resources.gpu)) if resources.gpu else cpu


def _times(available: float, each: float) -> int:
    return int(available / each + 1e-9)
