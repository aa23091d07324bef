"""Resources of one trial, and how many trials run at once: a pure function of the scarcest resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from privimage.errors import InputError
from privimage.field_types import spelt
from privimage.methods.declared import ShareName
from privimage.schema import SAID, Frozen, is_null, message_of

DRIVER_CPU = 0.01  # of a trial whose work is done by other processes: it only waits
DRIVER_SHARE = 1e-3  # of the custom resource `driver`: a node with one of it holds a thousand
SHARES: tuple[ShareName, ...] = get_args(ShareName)
GIB = 2**30
MOST = 100_000  # of anything: no cluster has as many
LEAST_GPU = 1e-4  # the part of a resource that Ray counts in
RAY_MEMORY = 0.7  # of a node's memory: what Ray gives away; it keeps the rest for objects
RAYS = ("CPU", "GPU", "memory", "object_store_memory")  # names of resources that Ray does not take as custom ones
NAME = spelt("[A-Za-z][A-Za-z0-9_-]*", use="letters, digits, '_' and '-', a letter first")


class Share(Frozen):
    """What the processes get that compute a stage: `workers` of them, each with `cpu` cores and `gpu` GPUs."""

    workers: int = Field(default=1, ge=1, le=MOST)  # processes of one trial
    cpu: float = Field(default=1, gt=0, le=MOST)  # cores of each
    gpu: float = Field(default=0, ge=0, le=MOST)  # GPUs of each; a part of one is allowed
    memory: float | None = Field(default=None, gt=0, le=MOST, exclude_if=is_null)  # GiB that Ray sets aside for each
    cuda_graphs: bool = False  # GPUs play back training and sampler, recorded once (rounding may differ)

    @model_validator(mode="after")
    def _of_gpus(self) -> Self:
        if self.cuda_graphs and not self.gpu:
            raise ValueError("cuda_graphs: true needs a GPU; give gpu, or leave it out")
        if 0 < self.gpu < LEAST_GPU:
            raise ValueError(
                f"gpu: got {self.gpu}; the least part of one that Ray knows is {LEAST_GPU:g}; give more, or 0"
            )
        if self.gpu > 1 and self.gpu != int(self.gpu):
            raise ValueError(f"gpu: got {self.gpu:g}; above 1 it is a whole number: give {int(self.gpu)}")
        if self.workers > 1 and 0 < self.gpu <= 0.5:
            raise ValueError(
                f"gpu: got {self.gpu:g} for each of {self.workers} workers, which Ray may put on one GPU, where NCCL "
                "does not connect them; give gpu: 1, or workers: 1"
            )
        return self

    @property
    def device(self) -> str:
        """The device of every worker."""
        return "cuda" if self.gpu > 0 else "cpu"

    def on_gpus(self, gpus: float) -> int:
        """How many workers so many GPUs hold: a part of a GPU is of one. All of a trial where they take none.

        >>> Share(gpu=0.25).on_gpus(2), Share(gpu=0.6).on_gpus(2), Share(gpu=2).on_gpus(5)
        (8, 2, 2)
        """
        if not self.gpu:
            return self.workers
        return int(gpus + 1e-9) * _times(1.0, self.gpu) if self.gpu < 1 else _times(gpus, self.gpu)

    @property
    def gpus(self) -> int:
        """How many GPUs hold all workers of one trial.

        >>> Share(gpu=0.3).gpus, Share(workers=3, gpu=0.6).gpus, Share(workers=2, gpu=2).gpus, Share().gpus
        (1, 3, 4, 0)
        """
        if self.gpu < 1:
            return -(-self.workers // self.on_gpus(1)) if self.gpu else 0
        return self.workers * int(self.gpu)

    @property
    def bundle(self) -> dict[str, float]:
        """What one worker takes, in Ray's words."""
        memory = {} if self.memory is None else {"memory": float(int(self.memory * GIB))}
        return {"CPU": self.cpu, **({"GPU": self.gpu} if self.gpu else {}), **memory}

    def __str__(self) -> str:
        """The same in ours."""
        memory = "" if self.memory is None else f" and {self.memory:g} GiB"
        needs = f"{self.cpu:g} CPU and {self.gpu:g} GPU{memory}"
        return needs if self.workers == 1 else f"{self.workers} workers, each with {needs}"


class OwnShare(Frozen):
    """What the stages of one share get; a field that is left out is the default's."""

    workers: int | None = Field(default=None, ge=1, le=MOST, exclude_if=is_null)
    cpu: float | None = Field(default=None, gt=0, le=MOST, exclude_if=is_null)
    gpu: float | None = Field(default=None, ge=0, le=MOST, exclude_if=is_null)
    memory: float | None = Field(default=None, gt=0, le=MOST, exclude_if=is_null)
    cuda_graphs: bool | None = Field(default=None, exclude_if=is_null)


class Resources(Share):
    """What one trial gets: its own fields, or those of `default`, and others for some of its stages.

    Where stages differ, or a `driver` is named, a trial holds what its stage takes, and nothing while it waits.
    """

    default: OwnShare | None = Field(default=None, exclude_if=is_null)  # the fields above in another spelling
    pretrain: OwnShare | None = Field(default=None, exclude_if=is_null)  # of training that sees no sensitive image
    finetune: OwnShare | None = Field(default=None, exclude_if=is_null)  # of training on sensitive images
    sample: OwnShare | None = Field(default=None, exclude_if=is_null)  # of drawing images and measuring them
    driver: Annotated[str, NAME] | None = Field(default=None, exclude_if=is_null)  # custom resource of nodes that stay
    queued: int | None = Field(default=None, ge=1, le=MOST, exclude_if=is_null)  # trials beside those that fit, waiting

    @field_validator("driver")
    @classmethod
    def _own_driver(cls, driver: str | None) -> str | None:
        if driver in RAYS:
            raise ValueError("Ray means something else by it; give a name of your own, e.g. stays")
        return driver

    @model_validator(mode="after")
    def _each_share(self) -> Self:
        twice = sorted(_given(self.default).keys() & self.model_fields_set)
        if twice:
            raise ValueError(f"{twice[0]}: given twice, beside default and in it; leave one out")
        for name in SHARES:
            try:
                self.share(name)
            except ValidationError as error:
                raise PydanticCustomError(SAID, "{why}", {"why": f"resources.{name}: {message_of(error)}"}) from None
        return self

    def share(self, name: ShareName) -> Share:
        """What the stages of that share get: every field its own or the default's."""
        flat = {field: getattr(self, field) for field in Share.model_fields} | _given(self.default)
        own = _given(getattr(self, name))
        share = flat | own
        if not share["gpu"] and "cuda_graphs" not in own and name != "default":
            share["cuda_graphs"] = False  # the default's, for which it has no GPU
        return Share.model_validate(share)

    @property
    def alike(self) -> bool:
        """Whether all stages get the same."""
        return all(self.share(name) == self.share("default") for name in SHARES)

    @property
    def in_driver(self) -> bool:
        """Whether a trial is computed by the process that Tune starts for it."""
        return self.alike and self.driver is None and self.share("default").workers == 1

    @property
    def held(self) -> dict[str, float]:
        """What the process that Tune starts for a trial holds, in Ray's words: all, or next to nothing."""
        if self.in_driver:
            return self.share("default").bundle
        return {"CPU": DRIVER_CPU} if self.driver is None else {self.driver: DRIVER_SHARE}


def _given(own: OwnShare | None) -> dict[str, Any]:
    return {} if own is None else own.model_dump(exclude_none=True)


def trials_at_once(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials are run at the same time on these nodes, drivers included; a worker is on one node.

    As many as fit; where stages differ, twice as many as fit at the scarcest one: others are at another stage, or wait.
    Raises InputError if not even one fits.

    >>> trials_at_once(Resources(cpu=1), [{"CPU": 4}])
    4
    >>> trials_at_once(Resources(cpu=3), [{"CPU": 4}, {"CPU": 4}])
    2
    >>> trials_at_once(Resources(workers=2, cpu=1, gpu=1), [{"CPU": 64, "GPU": 8}])
    4
    >>> trials_at_once(Resources(cpu=1, pretrain=OwnShare(gpu=1), finetune=OwnShare(gpu=0.5)), [{"CPU": 64, "GPU": 8}])
    16
    """
    return side_by_side(resources, nodes) * (1 if resources.alike else 2)


def side_by_side(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials fit on these nodes at the scarcest stage. Raises InputError if not even one does."""
    if resources.driver is not None and not any(node.get(resources.driver, 0) >= DRIVER_SHARE for node in nodes):
        raise InputError(
            f"resources.driver: got '{resources.driver}', but no node of Ray has it; start one with "
            f"""ray start --resources='{{"{resources.driver}": 1}}', or leave it out"""
        )
    if resources.alike:
        return _fitting("resources", resources.share("default"), resources, nodes)
    return min(_fitting(f"resources.{name}", resources.share(name), resources, nodes) for name in SHARES)


def _fitting(key: str, share: Share, resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials fit side by side at a stage. Raises InputError, naming the key, if none does."""
    driver = {} if resources.in_driver else resources.held
    fits = sum(_workers(node, share) for node in nodes) // share.workers
    while fits and not _fit(fits, share, driver, nodes):
        fits -= 1
    if fits:
        return fits
    largest = ", ".join(sorted({_told(node, share) for node in nodes}))
    raise InputError(
        f"{key}: one trial needs {share}, each on one node, but Ray has {len(nodes)} nodes: {largest or 'none'}; "
        f"lower workers, cpu{', memory' if share.memory else ''} or gpu"
    )


def _told(node: Mapping[str, float], share: Share) -> str:
    memory = f" and {node.get('memory', 0) / GIB:.3g} GiB" if share.memory else ""
    return f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU{memory}"


def _fit(trials: int, share: Share, driver: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether so many trials find room at the same time: first their workers, then their drivers beside them."""
    workers, drivers = trials * share.workers, trials if driver else 0
    for node in nodes:
        taken = min(workers, _workers(node, share))
        workers -= taken
        left = {name: node.get(name, 0.0) - taken * share.bundle.get(name, 0.0) for name in driver}
        drivers -= min(drivers, *(_times(left[name], each) for name, each in driver.items())) if driver else 0
    return workers == 0 and drivers == 0


def _workers(node: Mapping[str, float], share: Share) -> int:
    """How many workers fit on a node."""
    fits = [_times(node.get(name, 0.0), each) for name, each in share.bundle.items() if name != "GPU"]
    return min(*fits, share.on_gpus(node.get("GPU", 0.0))) if share.gpu else min(fits)


def _times(available: float, each: float) -> int:
    return int(available / each + 1e-9)
