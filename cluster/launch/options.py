"""LaunchOptions: what a target needs to know beside the sweep, each value checked before it stands in any file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privimage.bucket import SCHEMES
from privimage.errors import InputError

LABEL = 63  # characters of a Kubernetes label, and so of a namespace and of a claim
_PATH = (r"(/[A-Za-z0-9._-]+)+", "an absolute path of letters, digits, '.', '_' and '-', e.g. /shared")
_LABEL = (r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", "lower-case letters, digits and '-', e.g. imaging")
_WORD = (r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits, '.', '_' and '-', a letter or a digit first")
RULES: Mapping[str, tuple[str, str]] = {  # what is written into scripts and manifests needs no quotes there
    "name": _WORD,
    "shared": _PATH,
    "root": (
        rf"({'|'.join(SCHEMES)})://[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*",
        "the URL of a bucket, e.g. s3://scans/runs",
    ),
    "venv": _PATH,
    "image": (r"[a-z0-9][A-Za-z0-9._:/@-]*", "what `docker pull` takes, e.g. registry.example.org/privimage:0.1.0"),
    "namespace": _LABEL,
    "claim": _LABEL,
    "secret": _LABEL,
    "gpu_type": _WORD,
    "partition": _WORD,
    "time": (
        r"(?!(0+-)?0*:00:00)([0-9]{1,3}-([01]?[0-9]|2[0-3])|[0-9]{1,3}):[0-5][0-9]:[0-5][0-9]",
        "[DAYS-]HH:MM:SS above 0, HH below 24 beside days, e.g. 12:00:00",
    ),
    "user": (r"[a-z_][a-z0-9_-]*", "a name of a user, e.g. ubuntu"),
    "host": (r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", "names or addresses, e.g. --host 10.0.0.1 --host 10.0.0.2"),
}


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """Where a sweep is to run. What is None or empty was not given: each target says what it needs."""

    name: str | None = None  # of the job, and of the files; the sweep's if None
    shared: str | None = None  # a folder that all nodes see at this path: images, and the root if that is no bucket
    root: str | None = None  # a bucket that runs, their store and ledgers lie in; below `shared` if None
    venv: str | None = None  # an environment with privimage at this path of every node
    image: str | None = None  # a container image with privimage
    min_nodes: int = 1  # beside the head, where that is a node of its own
    max_nodes: int | None = None  # `min_nodes` if None
    cpus: int | None = None  # of every node; what one trial takes if None
    gpus: int | None = None  # likewise
    memory: int | None = None  # GiB of every node; 16, or what one trial takes if that is more, if None
    gpu_type: str | None = None
    partition: str | None = None
    time: str = "24:00:00"
    namespace: str = "default"
    claim: str = "privimage"  # name of the volume claim that `shared` is
    secret: str | None = None  # whose entries are variables of every pod, such as the credentials of a bucket
    retries: int = 10  # how often a job that failed is begun anew
    host: tuple[str, ...] = ()  # machines by name, the head first
    user: str | None = None  # who may log in there

    @property
    def nodes(self) -> tuple[int, int]:
        """The least and the most nodes. Raises InputError if there are none between."""
        most = self.min_nodes if self.max_nodes is None else self.max_nodes
        if most < self.min_nodes:
            raise InputError(f"--max-nodes: got {most}, below --min-nodes {self.min_nodes}; raise it")
        return self.min_nodes, most


def option(field: str) -> str:
    """How a field is written on the command line.

    >>> option("min_nodes")
    '--min-nodes'
    """
    return f"--{field.replace('_', '-')}"


def checked(given: Mapping[str, Any]) -> LaunchOptions:
    """The options of these values. Raises InputError naming the option, the value, and what to write."""
    for field, value in given.items():
        pattern, use = RULES.get(field, ("", ""))
        for one in value if isinstance(value, tuple) else (value,):
            if pattern and not re.fullmatch(pattern, str(one)):
                raise InputError(f"{option(field)}: got '{one}'; use {use}")
            if pattern is _LABEL[0] and len(str(one)) > LABEL:
                raise InputError(f"{option(field)}: got {len(str(one))} characters; use at most {LABEL}")
    return LaunchOptions(**given)
