"""No sweep file, however mutated, ends in a traceback or runs away; and what is accepted can be run."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import yaml
from mutations import SMALL, bases, bombs, large, mutated, text_of

from privimage.errors import InputError
from privimage.paths import Root
from privimage.plain_yaml import read_value, to_yaml
from privimage.privacy.noise import Noise
from privimage.schema import parse
from privimage.sweeps.plan import make_plan
from privimage.sweeps.searcher import base_point, space_of
from privimage.sweeps.sweep import Sweep, load_sweep

SECONDS, MIB = 30, 200  # for one file, on a busy machine


@contextmanager
def bounded(seconds: int = SECONDS) -> Iterator[None]:
    """Fails if the body takes long, or much memory beyond what the process had at its largest."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before, old = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MIB * 1024


def judged(text: str, file: Path) -> Sweep | str:
    """The sweep in a file of this text, or the line that refuses it."""
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with bounded():
        try:
            return load_sweep(file)
        except InputError as error:
            line = str(error)
    assert line.isprintable() and len(line) < 1500, line[:3000]
    return line


def holds(sweep: Sweep) -> None:
    """What is accepted is read back as itself, and every trial that its space may draw is one."""
    again = parse(Sweep, read_value(to_yaml(sweep.model_dump(mode="json")), where="again"))
    assert again == sweep
    assert all(point.keys() == sweep.search.keys() for point in base_point(sweep))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(3):
        params = study.ask(space_of(sweep)).params
        trial = sweep.trial(budget=sweep.budgets[0], seed=0, noise=Noise(), overrides=params)
        values = trial.model_dump(mode="json")
        for dotted, value in params.items():
            found = values
            for key in dotted.split("."):
                found = found[key]
            assert found == value and (type(found) is type(value) or {type(found), type(value)} == {int, float})


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def check(count: int, seed: int, file: Path) -> tuple[int, int]:
    accepted = refused = 0
    for text in mutated(count, seed=seed):
        found = judged(text, file)
        if isinstance(found, Sweep):
            accepted += 1
            with bounded():
                holds(found)
        else:
            refused += 1
    return accepted, refused


def test_mutated_files_end_in_one_line_or_can_be_run(tmp_path: Path) -> None:
    accepted, refused = check(150, 0, tmp_path / "sweep.yaml")
    assert accepted > 15 and refused > 60


@pytest.mark.slow
def test_thousands_of_mutated_files(tmp_path: Path) -> None:
    for seed in range(1, 5):
        check(1000, seed, tmp_path / "sweep.yaml")


@pytest.mark.thorough
def test_small_files_that_would_grow_are_refused(tmp_path: Path) -> None:
    for text in bombs():
        line = judged(text, tmp_path / "sweep.yaml")
        assert isinstance(line, str), text[:80]


@pytest.mark.thorough
def test_more_than_can_be_run_or_priced_is_refused(tmp_path: Path) -> None:
    for values in large():
        found = judged(text_of(values), tmp_path / "sweep.yaml")
        assert isinstance(found, str), values.keys()


def test_honest_ones_are_accepted_and_the_largest_too(tmp_path: Path) -> None:
    for values in [*bases(), SMALL | {"trials": 10_000 - 2}]:
        found = judged(yaml.safe_dump(values), tmp_path / "sweep.yaml")
        assert isinstance(found, Sweep), found
        holds(found)


@pytest.mark.slow
def test_accepted_mutations_are_priced_or_refused_in_bounded_time(tmp_path: Path) -> None:
    for text in mutated(400, seed=9):
        found = judged(text, tmp_path / "sweep.yaml")
        if isinstance(found, Sweep):
            with bounded(seconds=300):
                make_plan(found, root=Root(path=tmp_path / "runs"))
