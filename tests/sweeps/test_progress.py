"""How far a sweep is, told by its records alone: what counts as ended, by row, and what another terminal is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import every

from privimage.data.pair import load_data
from privimage.paths import Root
from privimage.privacy.budget import Budget
from privimage.progress import Progress
from privimage.record import Record, StageRecord
from privimage.schema import parse
from privimage.sweeps import progress
from privimage.sweeps.past import ended
from privimage.sweeps.phase import label_of
from privimage.sweeps.price import bill_of
from privimage.sweeps.progress import RowDone, Running, Standing
from privimage.sweeps.sweep import Sweep
from privimage.sweeps.tally import Tally
from privimage.sweeps.work import Work
from privimage.trial import Trial

Values = Callable[[], dict[str, Any]]
SIGMA = "method.query.sigma"


@pytest.fixture
def work(tiny_values: Values, tmp_path: Path) -> Work:
    values = tiny_values() | {"compare": ["selection-only", "dpdm"], "trials": 3, "seeds": [0, 1]}
    sweep = parse(Sweep, values)
    public, sensitive = load_data(sweep.data, root=Root(path=tmp_path))
    folder = Root(path=tmp_path / "runs").run("tiny")
    asked = every(sweep, 6.0)
    bill = bill_of(sweep, asked_sigma=asked)
    return Work(sweep=sweep, folder=folder, asked=asked, bill=bill, public=public, sensitive=sensitive, quiet=True)


def record(trial: Trial, *, role: str = "search", seconds: float = 10.0, origin: str = "built") -> Record:
    stage = StageRecord.model_validate({"name": "generator", "origin": origin, "seconds": 1.0, "peak_mib": 1.0})
    return Record.model_validate(
        {
            "id": trial.id, "sweep": "tiny", "role": role, "method": trial.method.name,
            "config": trial.model_dump(mode="json"), "budget": trial.budget, "seed": trial.seed, "events": (),
            "paid": (), "epsilon_alone": 1.0, "epsilon_rdp_alone": 1.0, "metrics": (), "stages": (stage,),
            "artefacts": {}, "started": "now", "seconds": seconds, "versions": {},
        }
    )  # fmt: skip


def searched(work: Work, sigma: float, *, budget: int = 0, seed: int = 0) -> Trial:
    return work.searched({SIGMA: sigma}, budget=work.sweep.budgets[budget], seed=seed)


def test_a_configuration_has_ended_when_every_seed_has_its_record(work: Work) -> None:
    found = [record(searched(work, 7.0)), record(searched(work, 8.5)), record(searched(work, 8.5, seed=1))]
    first, second = ended(work, found)
    assert [one.params for one in first] == [{SIGMA: 8.5}] and second == []


def test_a_configuration_without_a_value_is_one_too(work: Work) -> None:
    """P_mean: null is a value of the search; taken for an absent field, its trial would never count as ended."""
    field = "method.finetune.P_mean"
    values = work.sweep.model_dump(exclude={"data"}) | {"data": work.sweep.data, "seeds": (0,)}
    sweep = parse(Sweep, values | {"search": {field: {"choice": [0.3, None]}}})
    searching = replace(work, sweep=sweep)
    trials = [searching.searched({field: value}, budget=sweep.budgets[0], seed=0) for value in (None, 0.3)]
    first, _ = ended(searching, [record(trial) for trial in trials])
    assert [one.params for one in first] == [{field: None}, {field: 0.3}]


def test_a_comparison_row_that_is_a_trial_of_the_search_counts_for_it_and_others_do_not(work: Work) -> None:
    same = [record(searched(work, 10.0, seed=seed), role="compare") for seed in (0, 1)]
    others = [record(trial, role="compare") for trial in work.rows]
    foreign = searched(work, 9.0).asking(every(work.sweep, 5.0))
    first, _ = ended(work, [*same, *others, record(foreign)])
    assert [one.params for one in first] == [{SIGMA: 10.0}]


def test_rows_are_counted_and_the_rest_is_timed_by_their_own_means(work: Work) -> None:
    tally = Tally(work, fixed={t.id: label_of(t, work.sweep) for t in work.rows}, search=(6, 6), at_once=lambda: 2)
    assert tally.left([]) is None
    rows = [t for t in work.rows if t.method.name == "dpdm"]
    found = [record(searched(work, 7.0), seconds=30), *(record(t, role="compare", seconds=5) for t in rows[:1])]
    assert tally.rows(found) == (
        RowDone(label="selection-only", done=0, total=2, compared=True),
        RowDone(label="dpdm at epsilon 1", done=1, total=2, compared=True),
        RowDone(label="dpdm at epsilon 10", done=0, total=2, compared=True),
        RowDone(label="search at epsilon 1", done=1, total=6),
        RowDone(label="search at epsilon 10", done=0, total=6),
    )
    mean = 17.5
    assert tally.left(found) == pytest.approx((2 * mean + 5 + 2 * mean + 5 * 30 + 6 * mean) / 2)
    again = [record(searched(work, 7.0), seconds=1, origin="hit")]
    assert tally.left(again) is None, "made again from the store: it tells nothing of how long a trial takes"


def test_two_budgets_with_one_epsilon_are_two_rows(work: Work) -> None:
    budgets = tuple(Budget(epsilon=epsilon, delta=delta) for epsilon, delta in ((1, 1e-5), (1, 1e-6), (10, 1e-5)))
    searching = replace(work, sweep=work.sweep.model_copy(update={"budgets": budgets}))
    rows = Tally(searching, fixed={}, search=(6, 4, 2), at_once=lambda: 1).rows([])
    assert [(row.label, row.total) for row in rows] == [
        ("search at epsilon 1, delta 1e-05", 6),
        ("search at epsilon 1, delta 1e-06", 4),
        ("search at epsilon 10", 2),
    ]


def test_another_terminal_is_told_what_runs_and_when_nothing_does(tmp_path: Path) -> None:
    folder = Root(path=tmp_path).run("tiny")
    folder.path.mkdir(parents=True)
    assert progress.read(folder) is None
    now = Standing(
        at=time.time(),
        phase="sweep",
        rows=(RowDone(label="dpdm", done=1, total=2),),
        running=(Running(label="dpdm", now=Progress(stage="generator", done=9, total=20)),),
        left=200.0,
    )
    progress.write(folder.progress, now)
    read = progress.read(folder)
    assert read == now and read.lines() == ["dpdm  1 of 2 trials", "sweep: dpdm: generator 45%; about 3 min left"]
    for stale in (now.model_copy(update={"at": now.at - 100}), now.model_copy(update={"ended": True})):
        assert stale.lines()[-1] == "not running now; run the sweep's command again to go on"
    done = now.model_copy(update={"ended": True, "rows": (RowDone(label="dpdm", done=2, total=2),)})
    assert done.lines() == ["dpdm  2 of 2 trials"]
    folder.progress.write_bytes(b"\0" * 10)
    assert progress.read(folder) is None


def test_after_a_kill_rows_are_counted_by_records(work: Work) -> None:
    """`status` said "0 of 6 trials" of a row, and below it that one of the search trials has a result."""
    at_end = Standing(
        at=time.time(), phase="sweep", running=(), left=9,
        rows=(
            RowDone(label="selection-only", done=0, total=2, compared=True),
            RowDone(label="dpdm at epsilon 10", done=1, total=2, compared=True),
            RowDone(label="search at epsilon 1", done=0, total=6),
            RowDone(label="search at epsilon 10", done=0, total=1),
        ),
    )  # fmt: skip
    trials = [(searched(work, 7.0), "search"), *((trial, "compare") for trial in work.rows)]
    found = [record(trial, role=role) for trial, role in trials]
    assert at_end.counted(found, search="search") == at_end, "it runs: its own word counts"
    stale = at_end.model_copy(update={"at": at_end.at - 100})
    assert [row.done for row in stale.counted(found, search="search").rows] == [2, 2, 1, 0]
    assert [row.done for row in stale.counted(found, search="final run").rows] == [2, 2, 0, 0]


def test_a_private_selection_leaves_nothing_where_others_look(tmp_path: Path) -> None:
    folder = Root(path=tmp_path).run("tiny")
    progress.write(folder.internal_progress, Standing(at=0, phase="selection", rows=(), running=(), left=None))
    assert folder.internal_progress.parent.stat().st_mode & 0o077 == 0


def test_a_line_on_forty_rows_is_short() -> None:
    """It listed every row with its count: 1,900 characters."""
    rows = tuple(RowDone(label=f"privimage+d at epsilon {n}", done=0, total=9) for n in range(40))
    at = Progress(stage="generator", done=9, total=20)
    running = [Running(label=row.label, now=at) for row in (rows[0], *rows[10:16])]
    running += [Running(label=rows[10].label, now=Progress(stage="samples"))]
    now = Standing(at=time.time(), phase="sweep", rows=rows, running=tuple(running), left=None)
    assert now.under_way() == (
        "privimage+d at epsilon 0 0/9 (generator 45%), privimage+d at epsilon 10 0/9 (1 in generator, 1 in samples), "
        "privimage+d at epsilon 11 0/9 (generator 45%) and 4 more rows"
    )
    assert now.model_copy(update={"running": ()}).under_way() == ""
    other = Running(label="another word for a row", now=at)
    assert now.model_copy(update={"running": (other,)}).under_way() == "another word for a row: generator 45%"


def test_a_sweep_runs_from_its_start_to_its_end_also_between_phases(tmp_path: Path) -> None:
    folder = Root(path=tmp_path).run("tiny")
    folder.path.mkdir(parents=True)
    with progress.told(folder, hidden=False):
        assert progress.read(folder) is None, "nobody watches a sweep that was never begun"
    before = Standing(
        at=0, phase="sweep", rows=(RowDone(label="dpdm", done=1, total=1),), running=(), left=9, ended=True
    )
    progress.write(folder.progress, before)
    with progress.told(folder, hidden=False):
        now = progress.read(folder)
        assert now is not None and now.alive and now.phase == progress.STARTING and now.rows == before.rows
        progress.write(folder.progress, now.model_copy(update={"phase": "sweep"}))
    now = progress.read(folder)
    assert now is not None and now.whole and not now.alive
    progress.write(folder.internal_progress, before)
    known = folder.progress.read_bytes()
    with progress.told(folder, hidden=True):
        assert folder.progress.read_bytes() == known, "when a selection ended tells of the number of its trials"


def test_a_finished_sweep_says_that_it_has_ended(finished_sweep: Any) -> None:
    now = progress.read(finished_sweep.folder)
    assert now is not None and now.whole and now.phase == "sweep" and not now.running
