"""`status --watch`: shows how far a sweep is until it ends; Ctrl-C ends the look, and leaves the sweep alone."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from privimage.analysis import facts
from privimage.paths import RunFolder
from privimage.progress import Progress
from privimage.sweeps import progress
from privimage.sweeps.cli import watch
from privimage.sweeps.cli.documents.status import status_document
from privimage.sweeps.progress import RowDone, Running, Standing

ROOT = Path(__file__).parents[3]


def standing(*, done: int = 1, rows: int = 1, ended: bool = False) -> Standing:
    counted = tuple(RowDone(label=f"row {n}", done=done, total=4) for n in range(rows))
    running = (Running(label="row 0", now=Progress(stage="generator", done=9, total=20)),)
    return Standing(at=time.time(), phase="sweep", rows=counted, running=running, left=200.0, ended=ended)


def text(now: Standing, folder: RunFolder, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(watch.shown(status_document(facts.begun(folder), now)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_it_shows_states_stages_time_left_the_best_and_what_was_spent(explored):
    said = text(standing(), explored)
    assert said.startswith("State epsilon ") and "sweep: 1 of 4 trials done; about 3 min left" in said
    (row,) = [line for line in said.splitlines() if "row 0" in line]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["row 0", "1/4", "1", "2", "generator 45%"]
    assert said.count("best so far: fid[efficientnet-lite0]†") == 2
    assert "stages: generator" in said and "All runs together have spent epsilon" in said


def test_many_rows_are_counted_and_those_at_work_stand_first(explored):
    said = text(standing(rows=40), explored)
    assert "and 28 rows more" in said and said.count("row ") < 16 and "row 0" in said


def test_trials_an_hour_over_the_last_hour(explored):
    found = facts.begun(explored)
    begun = facts.records_file.load(explored.records)[0].started
    ended = watch.so_far._times(found.records[0])[1]
    n = len(found.records)
    assert begun and watch.so_far.trials_per_hour(found, now=ended + 60) == pytest.approx(n * 3600 / (4321.9 + 60))
    assert watch.so_far.trials_per_hour(found, now=ended + 3700) is None


@pytest.mark.thorough
def test_it_ends_when_the_sweep_ends_and_sees_what_changes(explored, copied, privimage):
    folder: RunFolder = copied(explored)
    progress.write(folder.progress, standing())
    later = threading.Timer(2.5, lambda: progress.write(folder.progress, standing(done=4, ended=True)))
    later.start()
    begun = time.monotonic()
    code, said, complained = privimage("status", folder.path, "--watch")
    assert code == 0 and complained == "" and "done: 4 of 4 trials done" in said and time.monotonic() - begun > 2
    progress.write(folder.progress, standing(done=3, ended=True))
    code, said, _ = privimage("status", folder.path, "--watch")
    assert code == 0 and "3 of 4 trials done; not running now; run the sweep's command again" in said


def test_a_selection_is_watched_by_its_comparison_rows_and_winners_alone(selected, copied, privimage):
    folder: RunFolder = copied(selected)
    rows = (RowDone(label="dpdm at epsilon 1", done=1, total=1, compared=True),)
    now = Standing(at=time.time(), phase="selection", rows=rows, running=(), left=None)
    said = text(now, folder)
    assert (
        "an hour" not in said
        and "stages:" not in said
        and "selection: 1 of 1 trial done\n" in said.replace(" \n", "\n")
    )
    hidden = [record.id for record in facts.records_file.load(folder.internal_records)]
    assert not any(id in said for id in hidden)


def test_no_run_is_one_line_and_json_is_asked_for_by_itself(tmp_path, privimage):
    code, said, complained = privimage("status", tmp_path, "--watch")
    assert (code, said) == (2, "") and "no bill and no records" in complained and complained.count("\n") == 1
    assert privimage("status", tmp_path, "--watch", "--json")[0] == 2


@pytest.mark.thorough
def test_ctrl_c_ends_the_look_in_one_line(explored, copied):
    folder: RunFolder = copied(explored)
    progress.write(folder.progress, standing())
    command = [sys.executable, "-m", "privimage.sweeps.cli", "status", str(folder.path), "--watch"]
    looking = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where it is ignored here
    )  # fmt: skip
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(1):
            progress.write(folder.progress, standing())

    threading.Thread(target=beat, daemon=True).start()
    try:
        time.sleep(8)
        assert looking.poll() is None, looking.communicate()
        looking.send_signal(signal.SIGINT)
        said, complained = looking.communicate(timeout=60)
    finally:
        stop.set()
        looking.kill()
    assert looking.returncode == 130 and "Traceback" not in said + complained
    assert complained in (
        "privimage: no longer watched; the sweep goes on\n",
        "privimage: stopped; run the same command again\n",
    )
