"""Target: one kind of place that a sweep is started at from the outside: the protocol that its file here fills.

A file of this folder that declares MEMBERS, or an entry point of the group `privimage.launch`, brings a target. What it
writes follows from the sweep file and the options alone, and starts the same command everywhere: where it was killed,
the same command goes on, so a target may start it as often as it likes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

from privimage.cluster.launch.options import LaunchOptions, checked, option
from privimage.cluster.resources import GIB, RAY_MEMORY, SHARES, Resources, trials_at_once
from privimage.doors import Door
from privimage.errors import InputError

MEMORY = 16  # GiB of a node that takes no more


@dataclass(frozen=True, kw_only=True)
class NodeSize:
    """What every node that runs trials has: whole cores, whole GPUs, GiB of memory."""

    cpus: int
    gpus: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One sweep that is to be started: its name, the text of its file, what a trial of it takes, and the options."""

    name: str
    text: str
    resources: Resources
    options: LaunchOptions

    @property
    def file(self) -> str:
        """The name of the copy of the sweep file that goes along."""
        return f"{self.name}.yaml"

    @property
    def root(self) -> str:
        """Where all runs lie: the bucket that was named, else a folder that all nodes share."""
        return self.options.root or f"{self.options.shared}/runs"

    def command(self, file: str) -> str:
        """The command that runs the sweep, or what is left of it, on the Ray cluster that it is started in."""
        return f"privimage sweep {file} --address auto --root {self.root}"

    @property
    def driver(self) -> str:
        """What `ray start` is told on a node for drivers, where the sweep asks for one."""
        driver = self.resources.driver
        return "" if driver is None else f""" --resources='{{"{driver}": 1}}'"""

    def activated(self, command: str) -> str:
        """A command in the environment of `venv`, where one was named."""
        return command if self.options.venv is None else f". {self.options.venv}/bin/activate && {command}"

    def node(self) -> NodeSize:
        """The size of a node: as given, else the whole GPUs of one trial and the cores of the workers that fit on them.

        Where stages differ it is large enough for each. Raises InputError if not even one trial fits on the least
        number of such nodes.
        """
        trial, given, (least, _) = self.resources, self.options, self.options.nodes
        shares = [trial.share(name) for name in SHARES]
        gpus = max(s.gpus for s in shares) if given.gpus is None else given.gpus
        workers = [max(s.workers, s.on_gpus(gpus)) for s in shares]
        trials = min(n // s.workers for n, s in zip(workers, shares, strict=True)) * (1 if trial.alike else 2)
        drivers = 0.0 if trial.in_driver else trials * trial.held.get("CPU", 0.0)
        cores = max(n * s.cpu for n, s in zip(workers, shares, strict=True)) + drivers
        cpus = math.ceil(cores - 1e-9) if given.cpus is None else given.cpus
        set_aside = max(n * (s.memory or 0.0) for n, s in zip(workers, shares, strict=True)) / RAY_MEMORY
        memory = max(MEMORY, math.ceil(set_aside)) if given.memory is None else given.memory
        node = {"CPU": float(cpus), "GPU": float(gpus), "memory": RAY_MEMORY * memory * GIB}
        drivers_on = {} if trial.driver is None else {trial.driver: 1.0}
        try:
            trials_at_once(trial, [node | drivers_on] + [node] * (least - 1))
        except InputError as error:
            raise InputError(f"--min-nodes, --cpus, --gpus, --memory: too small: {error}") from None
        return NodeSize(cpus=cpus, gpus=gpus, memory=memory)


class Target(ABC):
    """A kind of place, with its words for the command line."""

    what: ClassVar[str]  # in one line
    needs: ClassVar[tuple[str, ...]] = ()  # options that must be given
    uses: ClassVar[tuple[str, ...]] = ()  # options that may be
    example: ClassVar[str]  # options of an example

    def name(self, wanted: str) -> str:
        """The name of the job. Raises InputError, with a name that can be used, if this one cannot."""
        return wanted

    @abstractmethod
    def files(self, launch: Launch) -> dict[str, str]:
        """What is written, by name. Raises InputError if the options do not fit the sweep."""

    @abstractmethod
    def then(self, launch: Launch) -> str:
        """What to do with the files, in one line."""


def _refuses(member: Any) -> str | None:
    return None if isinstance(member, Target) else "it must be a Target"


DOOR: Door[Target] = Door(kind="target", folder="cluster/launch", refuses=_refuses)


def launch_of(
    target: Target, title: str, *, name: str, text: str, resources: Resources, given: Mapping[str, Any]
) -> Launch:
    """The launch of a sweep of that name at a target called `title`. Raises InputError naming the option."""
    for field in given:
        if field not in (*target.needs, *target.uses, "name"):
            known = ", ".join(map(option, (*target.needs, *target.uses, "name")))
            raise InputError(f"{option(field)}: {title} does not use it; it takes {known}")
    options = checked(given)
    for field in target.needs:
        if field not in given:
            raise InputError(f"{option(field)}: missing; {title} needs it, e.g. {target.example}")
    wanted = options.name or name
    return Launch(name=target.name(wanted), text=text, resources=resources, options=options)


def ray_version() -> str:
    """The version of Ray here: driver, head and workers must have the same."""
    return version("ray")
