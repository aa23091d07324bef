"""Ctrl-C and SIGTERM on a real process: one line, an exit code that says so, nothing closed, and the run goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import whole
import yaml
from ray._private.utils import get_num_cpus

from privimage import record as records
from privimage.paths import Root, RunFolder
from privimage.privacy.budget import Budget
from privimage.privacy.ledger import Ledger
from privimage.sweeps import interrupt

Values = Callable[[], dict[str, Any]]
# A shell without job control starts what it puts into the background, such as this test, deaf to Ctrl-C.
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


class Command:
    """The command line on a sweep file, each time a process with a Ray of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.started: list[subprocess.Popen[bytes]] = []
        self.values: dict[str, Any] = {}

    @property
    def run(self) -> RunFolder:
        return Root(path=self.folder / "runs").run("tiny")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "runs" / "ledgers" / "tiny-v1.jsonl")

    def done(self, folder: RunFolder | None = None) -> int:
        path = (folder or self.run).records
        return len(path.read_bytes().splitlines()) if path.exists() else 0

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        verb = arguments or ("sweep", str(self.folder / "sweep.yaml"), "--root", str(self.folder / "runs"), "--quiet")
        script = "from privimage.sweeps.cli import main; main()"
        return self.start_script(script, *verb)

    def start_script(self, script: str, *words: str) -> subprocess.Popen[bytes]:
        """In its folder, and a process group of its own."""
        whole = [sys.executable, "-c", HEARS + script, *words]
        with self.log.open("wb") as log:
            done = subprocess.Popen(whole, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        self.started.append(done)
        return done

    def wait_until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + 300
        while not reached():
            assert self.started[-1].poll() is None and time.monotonic() < end, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def stop(self, signum: int) -> tuple[int, str]:
        """Exit code and everything that was said."""
        self.started[-1].send_signal(signum)
        return self.started[-1].wait(timeout=60), self.log.read_text().strip()


@pytest.fixture
def command(tmp_path: Path, tiny_values: Values) -> Iterator[Callable[..., Command]]:
    made = Command(tmp_path)

    def make(**changed: Any) -> Command:
        made.values = tiny_values() | changed
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(made.values, sort_keys=False))
        return made

    yield make
    for process in made.started:
        with suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.thorough
@pytest.mark.timeout(280)
def test_ctrl_c_in_mid_sweep_is_no_success_and_the_same_command_goes_on(
    local_ray: None, command: Callable[..., Command]
) -> None:
    """It goes on in this process, for the sake of time, with another Ray than before."""
    budgets = [{"epsilon": 10, "delta": 1e-5}]
    in_turn = {"cpu": 0.6 * get_num_cpus()}  # of the machine's
    sweep = command(compare=["selection-only"], trials=2, budgets=budgets, resources=in_turn)
    sweep.ledger.path.parent.mkdir(parents=True)
    sweep.ledger.set_cap(Budget(epsilon=60, delta=1e-5))
    sweep.start()
    sweep.wait_until(lambda: sweep.done() >= 1)
    code, said = sweep.stop(signal.SIGINT)
    done, charged = sweep.done(), sweep.ledger.charges()
    counts = [f"privimage: stopped after {n} of 3 trials; run the same command again" for n in range(1, done + 1)]
    assert code == 130 and said in counts, "one may have ended between the count and the end of its process"
    assert len(sweep.ledger.reservations()) == 1, "what the sweep may still ask stays reserved"
    assert whole.run(sweep.values | whole.IN_TURN, sweep.folder).failures == ()
    assert len(records.load(sweep.run.records)) == sweep.done() == 3
    assert sweep.ledger.charges()[: len(charged)] == charged and not sweep.ledger.reservations()


LOST = (  # as where it is raised while Python runs a finalizer
    "from privimage.sweeps import interrupt\n"
    "interrupt.Interrupts._answer = lambda self, signum, frame: setattr(self, 'signum', signum)\n"
    "from privimage.sweeps.cli import main; main()"
)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_signal_whose_exception_is_lost_stops_all_the_same(command: Callable[..., Command]) -> None:
    sweep = command(trials=6, budgets=[{"epsilon": 10, "delta": 1e-5}], resources={"cpu": 0.6 * get_num_cpus()})
    sweep.start_script(LOST, "sweep", str(sweep.folder / "sweep.yaml"), "--root", str(sweep.folder / "runs"), "--quiet")
    sweep.wait_until(lambda: sweep.done() >= 1)
    code, said = sweep.stop(signal.SIGINT)
    assert code == 130 and re.fullmatch(r"privimage: stopped after \d of 6 trials; run the same command again", said)
    assert len(sweep.ledger.reservations()) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_in_a_public_search_fixes_no_settings_and_asks_nothing(command: Callable[..., Command]) -> None:
    """Spot machines and Slurm send it."""
    sweep = command(tuning={"mode": "public", "stand_in": {"share": 0.3}}, budgets=[{"epsilon": 5, "delta": 1e-5}])
    sweep.start("sweep", str(sweep.folder / "sweep.yaml"), "--root", str(sweep.folder / "runs"), "--set", "trials=6")
    sweep.wait_until(lambda: sweep.done(sweep.run.stand_in) >= 1)
    code, said = sweep.stop(signal.SIGTERM)
    assert code == 143 and "stopped after" in said.splitlines()[-1] and "of 6 trials" in said
    assert not sweep.run.stand_in.settings.exists() and not sweep.ledger.charges()


@pytest.mark.slow  # its moments depend on how fast the machine is
@pytest.mark.parametrize("seconds", [0.0, 1.5])
@pytest.mark.parametrize("verb", ["plan", "sweep"])
def test_a_signal_before_the_first_trial_is_one_line(
    command: Callable[..., Command], verb: str, seconds: float
) -> None:
    """While the noise is calibrated, data is read, or Ray starts."""
    sweep = command()
    first = (sweep.folder / "runs" / "tiny").exists if verb == "sweep" else (lambda: True)
    sweep.start(verb, str(sweep.folder / "sweep.yaml"), "--root", str(sweep.folder / "runs"))
    sweep.wait_until(first)
    time.sleep(seconds + (4 if verb == "plan" else 0))
    code, said = sweep.stop(signal.SIGTERM)
    if code == 0 or "State epsilon" in said:
        pytest.skip("it was done before")
    if code == -signal.SIGTERM and not said:
        pytest.skip("it had not begun: Python was reading modules")
    assert code == 143, said
    assert said.splitlines()[-1].startswith("privimage: stopped") and "Traceback" not in said


def test_a_second_signal_ends_at_once() -> None:
    script = (
        HEARS + "import time\nfrom privimage.sweeps.interrupt import Interrupts\nInterrupts().install()"
        "\ntry:\n    print('ready', flush=True); time.sleep(60)"
        "\nexcept KeyboardInterrupt:\n    print('stopping', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for expected in (b"ready\n", b"stopping\n"):
            assert process.stdout.readline() == expected
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def test_a_signal_that_somebody_else_answers_ends_the_process_too() -> None:
    """As Ray does while it starts: its own answer takes the place of ours, and is lost."""
    script = (
        "import signal, time\nfrom privimage.sweeps import interrupt\n"
        "interrupt.GRACE = 0.2\ninterrupt.Interrupts().install()\n"
        "signal.signal(signal.SIGTERM, lambda signum, frame: None)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
        assert process.stderr.read() == b"privimage: stopped; run the same command again\n"


def test_the_words_of_an_interrupt_survive_the_framework() -> None:
    try:
        try:
            raise interrupt.Stopped("stopped after 1 of 2 trials")
        except KeyboardInterrupt as stopped:
            raise SystemExit(130) from stopped
    except SystemExit as end:
        assert interrupt.words(end) == "stopped after 1 of 2 trials"
    assert interrupt.words(SystemExit(130)) == "stopped; run the same command again"


BEFORE = "it was done before"
SCRIPT = f"""
from privimage import Sweep, run
from privimage.paths import Root
sweep, records = Sweep.load("sweep.yaml"), Root.at("runs").run("tiny").records
try:
    run(sweep, quiet=True)
    print("it never stopped", flush=True)
except KeyboardInterrupt as stopped:
    print(stopped if len(records.read_bytes().splitlines()) < 4 else "{BEFORE}", flush=True)
print(len(run(sweep, quiet=True).trials()))
"""


@pytest.mark.slow  # the command's own test is quick, and a script stops in the same way
@pytest.mark.timeout(280)
def test_a_script_is_stopped_as_the_command_is_and_can_go_on_itself(command: Callable[..., Command]) -> None:
    """Its whole process group hears Ctrl-C, as at a terminal."""
    sweep = command(compare=["selection-only"], trials=3, budgets=[{"epsilon": 10, "delta": 1e-5}])
    sweep.start_script(SCRIPT)
    sweep.wait_until(lambda: sweep.done() >= 1)
    if sweep.done() == 4:
        pytest.skip(BEFORE)
    with suppress(ProcessLookupError):  # it was done before
        os.killpg(sweep.started[-1].pid, signal.SIGINT)
    code, said = sweep.started[-1].wait(timeout=200), sweep.log.read_text()
    if said.startswith(BEFORE):
        pytest.skip(BEFORE)
    assert code == 0, said
    first, *_, last = said.strip().splitlines()
    assert re.fullmatch("stopped after [1-3] of 4 trials; run the same command again", first) and last == "4"
    assert not sweep.ledger.reservations()
