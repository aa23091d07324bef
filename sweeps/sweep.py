"""Sweep: the YAML file as one frozen value, and every trial it can contain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from privimage import metrics
from privimage.cluster.resources import Resources
from privimage.data import HeldOutConfig
from privimage.data.pair import DataConfig
from privimage.errors import InputError
from privimage.field_types import ONCE, Constraint, field_type, has_field, spelt
from privimage.local import local_path
from privimage.methods.method import DEFAULT, METHODS, NEVER_SEARCHED, MethodConfig, load
from privimage.methods.resolve import adopted
from privimage.metrics import Features
from privimage.paths import RESERVED
from privimage.plain_yaml import one_line, read_yaml
from privimage.privacy.budget import Budget
from privimage.privacy.noise import Noise
from privimage.schema import MOST_SAID, SAID, Frozen, parse, set_at, set_dotted
from privimage.sweeps import recipe
from privimage.sweeps.limits import (
    MOST_BUDGETS,
    MOST_ROWS,
    MOST_SEARCHED,
    MOST_SEEDS,
    MOST_TRIALS,
    check_asked,
    check_size,
)
from privimage.sweeps.modes.explore import Explore
from privimage.sweeps.modes.tuning import Tuning
from privimage.sweeps.row import Row
from privimage.sweeps.space import Choice, Dimension
from privimage.sweeps.study_address import ADDRESS, JOURNAL
from privimage.sweeps.trackers.config import Trackers
from privimage.trial import Draw, Trial

MOST_DELTA = 0.01
METHOD = "method.name"
NAME = spelt("[A-Za-z0-9][A-Za-z0-9._-]*", use="letters, digits, '.', '_' and '-', a letter or a digit first")
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=MOST_SEEDS), ONCE]


def _free(name: str) -> None:
    if name in RESERVED:
        raise ValueError(f"{name} is reserved; use another name")


FREE = Constraint(_free, {"not": {"enum": list(RESERVED)}})


class Sweep(Frozen):
    """One sweep: data, budgets, the method's fixed part, what is searched, what is measured, on which resources."""

    name: Annotated[str, Field(max_length=80), NAME, FREE]  # name of the run, and of its folder
    data: DataConfig
    budgets: Annotated[tuple[Budget, ...], Field(min_length=1, max_length=MOST_BUDGETS), ONCE]  # a search for each
    tuning: Tuning = Explore()  # how the search goes, what a budget covers, and what may be shown
    method: dict[str, Any] = Field(default_factory=dict)  # the method: its name, and fields that are not searched
    search: dict[str, Dimension] = Field(default_factory=dict, max_length=MOST_SEARCHED)  # what varies, by field
    compare: Annotated[tuple[Row, ...], Field(max_length=MOST_ROWS), ONCE] = ()  # comparison rows beside the search
    objectives: dict[str, Literal["min", "max"]] = Field(min_length=1, max_length=3)  # by metric; the first decides
    metrics: Annotated[tuple[str, ...], Field(max_length=20), ONCE] = ()  # measured beside the objectives
    features: Features = Features()
    trials: int = Field(default=10, ge=0, le=MOST_TRIALS)  # of the search, for every budget; in mode select their mean
    seeds: Seeds = (0,)  # repetitions: of public randomness, as of pre-training; private noise never has a seed
    resources: Resources = Resources()
    studies: Annotated[str | None, ADDRESS] = JOURNAL  # where Optuna's studies are: a file (journal), or a server
    trackers: Trackers = Trackers()  # where finished trials are shown as well

    @classmethod
    def homes(cls) -> Iterator[tuple[str, type[BaseModel]]]:
        """Also what methods know: `method` is no model before its name is read."""
        yield from (("method", load(name).config) for name in METHODS.names())
        yield from super().homes()

    @classmethod
    def load(cls, file: str | Path, *, set: Mapping[str, Any] = {}) -> Sweep:
        """The sweep in a YAML file or in the shipped recipe of that name, dotted fields `set`. Raises InputError."""
        return load_sweep(recipe.find(local_path(file, named="FILE.yaml")), overrides=set)

    @field_validator("budgets")
    @classmethod
    def _small_deltas(cls, budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
        for budget in budgets:
            if budget.delta > MOST_DELTA:
                raise ValueError(
                    f"delta {budget.delta:g} allows to publish one image in {1 / budget.delta:.0f} as it is; use at "
                    f"most {MOST_DELTA}, and well below one over the number of images"
                )
        return budgets

    @field_validator("search")
    @classmethod
    def _of_their_fields(cls, search: dict[str, Dimension], info: ValidationInfo) -> dict[str, Dimension]:
        """Every value as the type of the field that is searched: what a trial has, a record says and is compared."""
        typed, configs = {}, [load(name).config for name in _tried(search, info.data.get("method", {}))]
        for dotted, dimension in search.items():
            head, *path = dotted.split(".")
            try:
                if head != "method" or not path:
                    raise ValueError("only fields of method can be searched, e.g. method.select.ratio")
                field = next((f for c in configs if (f := field_type(c, path)) is not None), None)
                typed[dotted] = dimension if field is None else dimension.typed(field)  # no field: see corner_trials
            except ValueError as error:
                raise PydanticCustomError(SAID, "{why}", {"why": f"search.{dotted}: {error}"}) from None
        return typed

    @field_validator("objectives")
    @classmethod
    def _directions(cls, objectives: dict[str, str]) -> dict[str, str]:
        for name, direction in objectives.items():
            if metrics.direction_of(name) != direction:
                raise ValueError(f"{name} is better when it is {metrics.direction_of(name)}imal; got {direction}")
        return objectives

    @model_validator(mode="after")
    def _mode_rules(self) -> Self:
        self._check_private()
        if self.data.stand_in or isinstance(self.data.sensitive, HeldOutConfig):
            raise ValueError("data: a stand-in is named in tuning.stand_in; here, name the sensitive set")
        self.tuning.check(self)
        return self

    def _check_private(self) -> None:
        """Raise ValueError if the search may try a method without privacy: a stand-in's winner is run as well."""
        tried = [("method.name", self.method.get("name"))]
        if METHOD in self.search:
            tried += [(f"search.{METHOD}", name) for name in self.search[METHOD].corners()]
        for key, name in tried:
            if isinstance(name, str) and name in METHODS.names() and not load(name).private:
                raise ValueError(f"{key}: got {name}, {NEVER_SEARCHED}")

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of all metrics: the objectives first."""
        return tuple(dict.fromkeys((*self.objectives, *self.metrics)))

    @property
    def space(self) -> dict[str, Dimension]:
        """The searched fields; without a search, the method's name as the only choice."""
        return self.search or {METHOD: Choice(choice=(str(self.method.get("name", DEFAULT)),))}

    @property
    def unmeasured(self) -> str | None:
        """Why its comparison rows will have no number, if so."""
        if not self.compare or not all(metrics.is_private(name) for name in self.measured):
            return None
        return (
            f"compare: rows have no private score, so {', '.join(self.measured)} measures none of them, and they are "
            "charged for no number; name one that does, e.g. metrics: [fid[efficientnet-lite0]]"
        )

    @property
    def configurations(self) -> int:
        """How many configurations the search tries at one budget, at most: `trials`, or all that there are."""
        space = math.prod(dimension.size() for dimension in self.search.values())
        return int(min(self.trials, space))

    def methods(self) -> tuple[str, ...]:
        """Names of the methods that the search may try."""
        return _tried(self.search, self.method) or (self.configuration({}).name,)

    def configuration(self, overrides: Mapping[str, Any]) -> MethodConfig:
        """That of the method, with some dotted fields replaced."""
        return self.example(budget=self.budgets[0], overrides=overrides).method

    def overrides_of(self, row: Row) -> dict[str, Any]:
        """Dotted fields of the trial that a comparison row replaces."""
        suited = load(row.method).settings if row.method != self.configuration({}).name else {}
        return {METHOD: row.method, **{f"method.{name}": value for name, value in suited.items()}, **row.set}

    def trial(
        self,
        *,
        budget: Budget,
        seed: int,
        asked_sigma: Mapping[str, float] = {},
        noise: Noise,
        draw: Draw | None = None,
        overrides: Mapping[str, Any] | None = None,
        search: bool = True,
        scored: bool = True,
    ) -> Trial:
        """The resolved trial with some dotted fields replaced. Raises InputError naming the field.

        A trial of the `search` has a guarantee, wherever its settings come from: the file, the journal, a stand-in. One
        that is not `scored` asks for no private score: that would add to what it costs.
        """
        values: dict[str, Any] = {
            "data": self.data,
            "budget": budget,
            "noise": noise,
            "draw": draw,
            "method": self._fixed(overrides or {}),
            "metrics": self.measured,
            "seed": seed,
        }
        for dotted, value in (overrides or {}).items():
            if not self._foreign(dotted, str(values["method"].get("name", DEFAULT))):
                values = set_dotted(values, dotted, value)
        trial = parse(Trial, values).settled().asking(asked_sigma)
        if search and not trial.method.member.private:
            raise InputError(f"{METHOD}: got {trial.method.name}, {NEVER_SEARCHED}")
        free = tuple(name for name in trial.metrics if not metrics.is_private(name))
        return trial if scored else trial.model_copy(update={"metrics": free})

    def _fixed(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The method's fixed part, of which a method with other fields takes what it knows; its name comes first."""
        own = self.method.get("name", DEFAULT)
        name = overrides.get(METHOD, own)
        if name == own or not all(one in METHODS.names() for one in (own, name)):
            return {**self.method, "name": name}
        return {**adopted(self.method, method=load(name), other=load(own)), "name": name}

    def _foreign(self, dotted: str, name: str) -> bool:
        """Whether a searched field is one of another method of the search, and not of the one of that name."""
        path = dotted.split(".")[1:]
        if dotted not in self.search or name not in METHODS.names() or has_field(load(name).config, path):
            return False
        return any(has_field(load(other).config, path) for other in self.methods())

    def example(self, *, budget: Budget, overrides: Mapping[str, Any] | None = None) -> Trial:
        """A trial to look at, not to run."""
        return self.trial(budget=budget, seed=self.seeds[0], noise=Noise(), overrides=overrides, search=False)

    def rows(self) -> Iterator[tuple[Row, int, Budget]]:
        """The comparison rows: for every budget, or at the largest alone where no noise follows from it; every seed."""
        largest = max(self.budgets, key=lambda budget: budget.epsilon)
        for row, seed in itertools.product(self.compare, self.seeds):
            config = self.configuration(self.overrides_of(row))
            for budget in self.budgets if config.member.by_budget(config) else (largest,):
                yield row, seed, budget

    def row_trial(
        self, row: Row, seed: int, budget: Budget, *, asked_sigma: Mapping[str, float] = {}, noise: Noise
    ) -> Trial:
        """The trial of a comparison row, which has no private score."""
        return self.trial(
            budget=budget, seed=seed, asked_sigma=asked_sigma, noise=noise, overrides=self.overrides_of(row),
            search=False, scored=False,
        )  # fmt: skip

    def corner_trials(self) -> Iterator[tuple[str, Trial]]:
        """Trials that try every end and choice of every searched field, to find what is impossible before it runs."""
        for budget in self.budgets:
            yield "method", self.example(budget=budget)
        for dotted, dimension in self.search.items():
            for value, name, budget in itertools.product(dimension.corners(), self.methods(), self.budgets):
                try:
                    yield dotted, self.example(budget=budget, overrides={METHOD: name, dotted: value})
                except InputError as error:
                    raise InputError(one_line(f"search.{dotted}: {error}", most=MOST_SAID)) from None


def _tried(search: Mapping[str, Dimension], method: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the methods that a search may try, as far as they are known: corner_trials names the others."""
    names = (search[METHOD].listed() or ()) if METHOD in search else ()
    known = tuple(str(name) for name in names if name in METHODS.names())
    own = method.get("name", DEFAULT)
    return known or ((own,) if own in METHODS.names() else ())


def _path(dotted: str) -> list[str]:
    """The keys of a dotted field of the file. What is searched, measured or set in a row is named by one key."""
    match dotted.split("."):
        case ["search" | "objectives" as head, *rest] if rest:
            return [head, ".".join(rest)]
        case ["compare", number, "set", *rest] if rest:
            return ["compare", number, "set", ".".join(rest)]
        case path:
            return path


def load_sweep(path: Path, *, overrides: Mapping[str, Any] | None = None) -> Sweep:
    """The sweep in a YAML file, with dotted fields replaced. Raises InputError in one line."""
    values = read_yaml(path)
    for dotted, value in (overrides or {}).items():
        values = set_at(values, _path(dotted), value)
    sweep = parse(Sweep, values)
    sweep.configuration({})  # or refused by its own name, before a row is
    for i, row in enumerate(sweep.compare):
        try:
            sweep.row_trial(row, sweep.seeds[0], sweep.budgets[0], noise=Noise())
        except InputError as error:
            raise InputError(f"compare.{i}.set: {error}") from None
    check_size(sweep)
    for _ in sweep.corner_trials():  # parses every corner; what needs data is checked once that is loaded
        pass
    check_asked(sweep)
    return sweep
