"""Doors: where privimage grows by one file. The members of a folder, and those that other packages bring, by name.

A file of the folder is a member if it says so at its top level, with its names written out:

    MEMBERS = {"fid": Fid()}

An installed package adds members without a fork, by entry points of the door's group:

    [project.entry-points."privimage.metrics"]
    kid = "my_package.kid:KID"

Names are known without importing anything; a member is imported when it is asked for.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from privimage.errors import InputError
from privimage.plain_yaml import one_line, short

T = TypeVar("T")
HERE = Path(__file__).parent
DECLARED = "MEMBERS"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One that says to be the member of a name: a file of ours, or an entry point of another package."""

    name: str
    where: str  # e.g. privimage.metrics.fid, or my_package.kid:KID (my-package 0.1)
    load: Callable[[], Any]
    ours: bool


_ADMITTED: dict[
    tuple[str, int], object
] = {}  # members that a door has looked at, by its folder and their id: they are asked for thousands of times


@dataclass(frozen=True, kw_only=True)
class Door(Generic[T]):
    """One door: what a member is called in messages, the folder under privimage/, and what every member must be.

    `refuses` returns why an object is no member, or None if it is one.
    """

    kind: str
    folder: str
    refuses: Callable[[Any], str | None]

    @property
    def group(self) -> str:
        """The group of entry points: privimage. and the last part of the folder."""
        return f"privimage.{self.folder.rsplit('/', 1)[-1]}"

    def names(self) -> tuple[str, ...]:
        """The names of all members, sorted. Imports none of them."""
        return tuple(sorted({claim.name for claim in self._claims()}))

    def load(self, name: str) -> T:
        """The member of that name. Raises InputError if there is none, if two claim it, or if it cannot be loaded."""
        claims = [claim for claim in self._claims() if claim.name == name]
        if not claims:
            raise InputError(f"{self.kind} {short(repr(name))}: unknown{self.nearest(name)}")
        if len(claims) > 1:
            both = " and ".join(sorted(claim.where for claim in claims))
            raise InputError(f"{self.kind} '{name}': claimed by {both}; uninstall one, or rename what it adds")
        return self._checked(claims[0])

    def nearest(self, name: str) -> str:
        """The end of a message about an unknown name: the member that was meant, or all that there are."""
        close = difflib.get_close_matches(name.lower(), self.names(), n=1)
        return f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(self.names())}"

    def members(self) -> dict[str, T]:
        """All members by name. Raises as `load` does."""
        return {name: self.load(name) for name in self.names()}

    def _checked(self, claim: Claim) -> T:
        told = f"{self.kind} '{claim.name}': {claim.where}"
        try:
            member: T = claim.load()
        except Exception as error:
            if claim.ours:
                raise  # a fault of privimage, told as it is
            why = one_line(f"{type(error).__name__}: {error}", most=300)
            raise InputError(f"{told} cannot be loaded ({why}); mend or uninstall it") from error
        if _ADMITTED.get((self.folder, id(member))) is not member:
            wrong = self.refuses(member)
            if wrong is not None:
                raise InputError(f"{told} is no {self.kind}: {wrong}")
            _ADMITTED[self.folder, id(member)] = member
        return member

    def _claims(self) -> tuple[Claim, ...]:
        return (*_ours(self.folder), *_theirs(self.group, tuple(sys.path)))


@lru_cache(maxsize=16)
def _ours(folder: str) -> tuple[Claim, ...]:
    """What the files of a folder declare."""
    paths = sorted((HERE / folder).glob("*.py"))
    return tuple(_claim(f"privimage.{folder.replace('/', '.')}.{p.stem}", name) for p in paths for name in declared(p))


def _claim(module: str, name: str) -> Claim:
    def load() -> Any:
        return getattr(importlib.import_module(module), DECLARED)[name]

    return Claim(name=name, where=module, load=load, ours=True)


def declared(path: Path) -> tuple[str, ...]:
    """The names of the members that a file declares, read without importing it; none if it declares none.

    Raises ValueError if they are not written out.
    """
    text = path.read_text(encoding="utf-8")
    if f"\n{DECLARED}" not in text:
        return ()
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and target.id == DECLARED:
            keys = node.value.keys if isinstance(node.value, ast.Dict) else [None]
            names = [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            if len(names) < len(keys):
                raise ValueError(f"{path}: {DECLARED} must be a dict whose names are written out")
            return tuple(names)
    return ()


@lru_cache(maxsize=16)
def _theirs(group: str, path: tuple[str, ...]) -> tuple[Claim, ...]:
    """What installed packages declare. They are looked for along sys.path: `path` is for the cache alone."""
    found = {(point.name, _where(point)): point for point in entry_points(group=group)}
    return tuple(Claim(name=name, where=where, load=point.load, ours=False) for (name, where), point in found.items())


def _where(point: EntryPoint) -> str:
    package = f" ({point.dist.name} {point.dist.version})" if point.dist is not None else ""
    return f"{point.value}{package}"
