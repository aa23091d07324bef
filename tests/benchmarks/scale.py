"""What a sweep costs around its trials: wall time over the ideal, processor time, memory, disk, and what reads it.

    python tests/benchmarks/scale.py                          24 (twice), 200 and 1,000 trials: about twenty minutes
    python tests/benchmarks/scale.py --trials 24 --at-once 4

The method sleeps where others compute, and writes 7 MB of weights a trial and for each of four pre-trainings
(sleeper.py); all else is real: Ray, Optuna, the store, the ledger, records. *Ideal* is what no schedule beats: the
pre-trainings side by side, as every training waits for one of them, then the trainings shared out evenly. The start is
what the first sweep takes beyond it, which has as many trials as run at once: Ray, and a process for each of them on
the cores that there are. Processor time counts every process of the command, Ray's own included, which take about a
tenth of a core while all others sleep; of a trial alone, the difference to that first sweep is taken. `status`, `front`
and `report` are timed as whole commands.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sleeper
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

REPO = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "privimage.sweeps.cli")
TICK = float(os.sysconf("SC_CLK_TCK"))
GROUPS = 4
# trials, seconds of a pre-training, of a training
SWEEPS = ((24, 10.0, 10.0), (24, 120.0, 120.0), (200, 5.0, 4.0), (1000, 5.0, 2.0))
SLACK = (5.0, 2.0)


@dataclass
class Watched:
    """What the processes of a command used: processor seconds by process, and the peak of each kind's memory, MiB."""

    seconds: dict[int, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    def look(self, root: int) -> None:
        """Look at a process and all below it, once."""
        for pid in below(root):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                memory = Path(f"/proc/{pid}/status").read_text()
            except OSError:  # it ended meanwhile
                continue
            self.seconds[pid] = (int(fields[11]) + int(fields[12])) / TICK
            own = {line.split(":")[0]: int(line.split()[1]) for line in memory.splitlines() if line.startswith("Rss")}
            kind = "driver" if pid == root else "cache actor" if "CacheActor" in words else "other"
            self.peak[kind] = max(self.peak.get(kind, 0.0), own.get("RssAnon", 0) / 1024)


def below(root: int) -> list[int]:
    """A process and all that it started, and that those started."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
        except OSError:
            continue
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def images(folder: Path, *, seed: int) -> None:
    """Forty small images in two classes."""
    rng = np.random.default_rng(seed)
    for i in range(40):
        (folder / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"c{i % 2}" / f"{i}.png")


def sweep_of(trials: int, pace: tuple[float, float], at_once: int, data: Path) -> dict[str, object]:
    """A sweep of so many trials."""
    pretrain, train = pace
    return {
        "name": "scale",
        "data": {
            "sensitive": {"name": "folder", "root": str(data / "sensitive"), "id": "scale-v1", "channels": 1},
            "public": {"name": "folder", "root": str(data / "public"), "channels": 1},
        },
        "budgets": [{"epsilon": 10, "delta": 1e-5}],
        "method": {"name": "sleep", "pretrain_seconds": pretrain, "train_seconds": train},
        "search": {
            "method.group": {"choice": list(range(GROUPS))},
            "method.point": {"integers": [0, 1_000_000]},
        },
        "objectives": {"mean": "min"},
        "trials": trials,
        "tuning": {"sampler": "random"},
        "resources": {"workers": 1, "cpu": (os.cpu_count() or 1) / at_once},
    }


def measure(trials: int, pace: tuple[float, float], at_once: int, folder: Path) -> dict[str, float]:
    """What a sweep of so many trials used, in a folder of its own."""
    site, root, log = folder / "site", folder / "runs", folder / "log"
    sleeper.install(site)
    for seed, part in enumerate(("sensitive", "public")):
        images(folder / part, seed=seed)
    file = folder / "scale.yaml"
    file.write_text(yaml.safe_dump(sweep_of(trials, pace, at_once, folder)))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(site), str(REPO), os.environ.get("PYTHONPATH", ""))),
        "SLEEPER_LOG": str(log),
        "RAY_worker_niceness": "0",
    }

    def run(*words: object, watched: Watched | None = None) -> float:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*COMMAND, *map(str, words)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()))
        reader.start()
        while process.poll() is None:
            if watched is not None:
                watched.look(process.pid)
            time.sleep(0.25)
        reader.join()
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, words))}: exit {process.returncode}\n{''.join(said[-20:])}")
        return time.perf_counter() - start

    watched = Watched()
    wall = run("sweep", file, "--root", root, watched=watched)
    where = root / "scale"
    pretrain, train = pace
    ran = Counter(line.split()[0] for line in log.read_text().splitlines())
    unique = Counter(line.split()[0] for line in set(log.read_text().splitlines()))
    assert ran == unique, f"stages that ran twice: {ran - unique}"
    assert ran["pretrained"] <= at_once, "they would not all run side by side"
    return {
        "trials": trials,
        "a pre-training sleeps s": pretrain,
        "a private training sleeps s": train,
        "records": len((where / "records.jsonl").read_text().splitlines()),
        "stages run": ran.total(),
        "unique stages": unique.total(),
        "wall s": wall,
        "ideal s": pretrain + ran["model"] * train / at_once,
        "processor s": sum(watched.seconds.values()),
        "driver MiB": watched.peak["driver"],
        "cache actor MiB": watched.peak.get("cache actor", float("nan")),
        "run folder MiB": size(where),
        "store MiB": size(root / "store"),
        "ledger lines": len(next((root / "ledgers").glob("*.jsonl")).read_text().splitlines()),
        "status s": run("status", where),
        "front s": run("front", where),
        "report s": run("report", where),
    }


def size(folder: Path) -> float:
    """MiB of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def table(found: list[dict[str, float]], base: dict[str, float]) -> Table:
    """One column a sweep."""
    shown = Table(*("", *(f"{one['trials']:,.0f} trials" for one in found)))
    for name in list(found[0])[1:]:
        shown.add_row(name, *(f"{one[name]:,.4g}" for one in found))
    idle = base["wall s"] - base["ideal s"]
    shown.add_row("wall / ideal", *(f"{one['wall s'] / one['ideal s']:.2f}" for one in found))
    shown.add_row("the start s", *(f"{idle:.1f}" for _ in found))
    shown.add_row("wall / ideal without it", *(f"{(one['wall s'] - idle) / one['ideal s']:.2f}" for one in found))
    each = ((one["processor s"] - base["processor s"]) / (one["trials"] - base["trials"]) for one in found)
    shown.add_row("processor s a trial", *(f"{seconds:.3f}" for seconds in each))
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", help="only sweeps of so many")
    parser.add_argument("--at-once", type=int, default=8)
    options = parser.parse_args()
    known = {trials for trials, *_ in SWEEPS}
    wanted = [sweep for sweep in SWEEPS if options.trials is None or sweep[0] in options.trials]
    wanted += [(trials, *SLACK) for trials in options.trials or () if trials not in known]
    found = []
    # the first one starts as many processes, and does little else
    for trials, *pace in ((options.at_once, *SLACK), *wanted):
        with tempfile.TemporaryDirectory(prefix="scale") as folder:
            found.append(measure(trials, (pace[0], pace[1]), options.at_once, Path(folder)))
        print(found[-1], flush=True)
    Console().print(table(found[1:], found[0]))


if __name__ == "__main__":
    main()
