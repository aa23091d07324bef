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
from privimage.cluster.resources import DRIVER_CPU, Resources, trials_at_once
from privimage.doors import Door
from privimage.errors import InputError


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
        """The folder of all runs, on storage that all nodes share."""
        return f"{self.options.shared}/runs"

    def command(self, file: str) -> str:
        """The command that runs the sweep, or what is left of it, on the Ray cluster that it is started in."""
        return f"privimage sweep {file} --address auto --root {self.root}"

    def activated(self, command: str) -> str:
        """A command in the environment of `venv`, where one was named."""
        return command if self.options.venv is None else f". {self.options.venv}/bin/activate && {command}"

    def node(self) -> NodeSize:
        """The size of a node: as given, else the whole GPUs of one trial and the cores of the workers that fit on them.

        Raises InputError if not even one trial fits on the least number of such nodes.
        """
        trial, given, (least, _) = self.resources, self.options, self.options.nodes
        gpus = math.ceil(trial.workers * trial.gpu - 1e-9) if given.gpus is None else given.gpus
        workers = max(trial.workers, int(gpus / trial.gpu + 1e-9)) if trial.gpu else trial.workers
        drivers = DRIVER_CPU * (workers // trial.workers) if trial.workers > 1 else 0.0
        cpus = math.ceil(workers * trial.cpu + drivers - 1e-9) if given.cpus is None else given.cpus
        try:
            trials_at_once(trial, [{"CPU": float(cpus), "GPU": float(gpus)}] * least)
        except InputError as error:
            raise InputError(f"--min-nodes, --cpus, --gpus: too small: {error}") from None
        return NodeSize(cpus=cpus, gpus=gpus, memory=given.memory)


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
