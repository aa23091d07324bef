"""Kill whatever runs, sixty times, run the same command again, and count what is lost, doubled or paid for twice.

    python tests/benchmarks/chaos.py                          sixty kills: about 40 minutes on two cores
    python tests/benchmarks/chaos.py --kills 14 --seed 3      each kind once

Three Ray nodes on this machine, and real sweeps on small images: DP-SGD on one worker and on two, shared answers,
comparison rows. What is killed, in which order and after how many seconds is drawn by --seed. What ends is begun again
by the same command. Then the same sweeps run undisturbed in another root, and both are compared: records, charges,
what was computed and what is stored. Exit 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests" / "cluster"))
from accounts import Account, noting  # noqa: E402 (beside the tests that use it too)
from ray_processes import processes_of  # noqa: E402

COMMAND = (sys.executable, "-m", "privimage.sweeps.cli")
SET = "chaos-v1"
HANGS = 240.0  # seconds in which a command neither ends nor computes anything
LINGER = 180.0  # seconds in which Ray's agents find out that their node is gone; a minute was seen
PAUSE = (2.0, 14.0)  # seconds between two kills
KINDS = {  # each once, then by these weights
    "trial, SIGKILL": 5,
    "trial, SIGTERM": 2,
    "training worker, SIGKILL": 4,
    "training worker, SIGTERM": 2,
    "cache actor, SIGKILL": 3,
    "cache actor, SIGTERM": 1,
    "node, SIGKILL": 4,
    "node, SIGTERM": 1,
    "head, SIGKILL": 2,
    "head, SIGTERM": 1,
    "command, SIGKILL": 4,
    "command, SIGTERM": 2,
    "command, SIGINT": 2,
    "everything": 2,
}
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # of a node: Ray may leave them where its raylet was killed
TITLES = {  # of processes, as Ray gives them
    "trial": ("ray::ImplicitFunc",),
    "training worker": ("ray::RayTrainWorker",),
    "cache actor": ("ray::CacheActor",),
}


@dataclass
class Nodes:
    """Three Ray nodes on this machine."""

    cluster: Any = None
    others: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """A new head and two nodes."""
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.others = [self.cluster.add_node(num_cpus=1) for _ in range(2)]

    def stop(self, *, graceful: bool = False) -> None:
        """End all of them, at once, or by SIGTERM."""
        for node in () if self.cluster is None else (*self.others, self.cluster.head_node):
            node.kill_all_processes(check_alive=False, allow_graceful=graceful, wait=True)
        self.cluster, self.others = None, []

    def replace(self, at: int, *, graceful: bool) -> None:
        """Kill a node, and let a new one join."""
        self.cluster.remove_node(self.others.pop(at), allow_graceful=graceful)
        self.others.append(self.cluster.add_node(num_cpus=1))


def kinds_of(kills: int, rng: random.Random) -> list[str]:
    """What is killed, in order: every kind once, the rest by weight."""
    drawn = rng.choices(list(KINDS), weights=list(KINDS.values()), k=max(0, kills - len(KINDS)))
    kinds = [*rng.sample(list(KINDS), k=min(kills, len(KINDS))), *drawn]
    rng.shuffle(kinds)
    return kinds


@dataclass
class Chaos:
    """The kills that are left, and what came of those that were done."""

    rng: random.Random
    left: list[str]
    nodes: Nodes
    folder: Path
    done: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    complaints: list[str] = field(default_factory=list)

    def sweep(self, file: Path, root: Path, environment: dict[str, str]) -> None:
        """Run the command until it has ended well, killing as long as kills are left."""
        while True:
            address = str(self.nodes.cluster.address)
            words = [*COMMAND, "sweep", str(file), "--root", str(root), "--address", address, "--quiet"]
            self.starts += 1
            process = subprocess.Popen(
                words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            disturbed = self._disturb(process)
            said = self._ended(process, disturbed, Path(environment["COMPUTED"]))
            lines = said.strip().splitlines()
            ours = [line for line in lines if line.startswith("privimage:")] or lines
            told = f"{', '.join(disturbed) or 'undisturbed'}: exit {process.returncode}"
            print(f"{self.done.total()} kills; {told} {ours[-1][:150] if ours else ''}", flush=True)
            if self.nodes.cluster is None:
                self.nodes.start()
            if process.returncode == 0:
                return
            if not disturbed:
                raise SystemExit(f"exit {process.returncode} undisturbed:\n{said[-2000:]}")

    def _ended(self, process: subprocess.Popen[str], disturbed: list[str], log: Path) -> str:
        """What it said, once it has ended."""
        said = None
        while said is None:
            before = log.stat().st_size if log.exists() else 0
            try:
                said = process.communicate(timeout=HANGS)[1]
            except subprocess.TimeoutExpired:
                if log.exists() and log.stat().st_size > before:
                    continue
                process.kill()
                said = process.communicate()[1]
                self.complaints.append(f"hung for {HANGS:.0f} s after {disturbed}")
        if "Traceback" in said:
            self.complaints.append(f"a traceback after {disturbed}: {said.strip().splitlines()[-1][:200]}")
        return said

    def _disturb(self, process: subprocess.Popen[str]) -> list[str]:
        """Kill one thing after another until the command has to end; what was killed."""
        killed: list[str] = []
        while self.left and self._runs_on(process, self.rng.uniform(*PAUSE)):
            kind = next((kind for kind in self.left if self._kill(kind, process)), None)
            if kind is None:  # nothing of what is left is there now
                continue
            self.left.remove(kind)
            self.done[kind] += 1
            killed.append(kind)
            if kind.startswith(("head", "everything", "command")):
                break
        return killed

    def _runs_on(self, process: subprocess.Popen[str], seconds: float) -> bool:
        """Whether the command still ran after so many seconds."""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _kill(self, kind: str, process: subprocess.Popen[str]) -> bool:
        """Whether there was something of that kind to kill."""
        what, _, name = kind.partition(", ")
        if what == "node":
            self.nodes.replace(self.rng.randrange(len(self.nodes.others)), graceful=name == "SIGTERM")
        elif what in ("head", "everything"):
            if what == "everything":
                process.kill()
            self.nodes.stop(graceful=name == "SIGTERM")
        elif what == "command":
            process.send_signal(getattr(signal, name))
        else:
            return self._shoot(TITLES[what], getattr(signal, name))
        return True

    def _shoot(self, titles: tuple[str, ...], signum: int) -> bool:
        found = sorted(pid for pid, title in processes_of(self.folder) if title.startswith(titles))  # of no other Ray
        if not found:
            return False
        try:
            os.kill(self.rng.choice(found), signum)
        except ProcessLookupError:
            return False
        return True


def images(folder: Path, *, classes: int, each: int, seed: int) -> None:
    """Small images: one random pattern a class, noise on every image."""
    rng = np.random.default_rng(seed)
    for c in range(classes):
        (folder / f"c{c:02d}").mkdir(parents=True)
        pattern = np.kron(rng.integers(0, 255, (7, 7)), np.ones((4, 4)))
        for i in range(each):
            noisy = (pattern + rng.normal(0, 20, pattern.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"c{c:02d}" / f"{i}.png")


def write_sweep(folder: Path, number: int) -> Path:
    """The sweep of that number: every other one trains with two workers."""
    values = {
        "name": f"chaos-{number}",
        "data": {
            "sensitive": {"name": "folder", "root": str(folder / "sensitive"), "id": SET, "channels": 1},
            "public": {"name": "folder", "root": str(folder / "public")},
        },
        "budgets": [{"epsilon": 1, "delta": 1e-5}, {"epsilon": 10, "delta": 1e-5}],
        "method": {
            "query": {"sigma": 10, "function": {"steps": 20, "batch": 16}},
            "select": {"ratio": 0.5},
            "model": {"size": "dct-mlp-192"},
            "pretrain": {"images": 20_000, "batch": 64},
            "finetune": {"steps": 60 if number % 2 == 0 else 300, "q": 0.2},  # the longer ones write checkpoints
            "samples": 40,
        },
        "search": {"method.select.ratio": {"choice": [0.2, 0.5, 0.8]}},
        "compare": ["dpdm", "selection-only", "privimage+m"],
        "objectives": {"accuracy[lr]": "max"},
        "tuning": {"sampler": "random"},
        "trials": 2,
        "seeds": [number],
        "resources": {"workers": 1 + number % 2, "cpu": 1},
    }
    file = folder / f"chaos-{number}.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def table(disturbed: Account, undisturbed: Account) -> Table:
    """What each root holds."""
    shown = Table("", "disturbed", "undisturbed")
    for name in ("records", "charges", "computed", "stored"):
        mine, theirs = Counter(getattr(disturbed, name)), Counter(getattr(undisturbed, name))
        shown.add_row(name, f"{mine.total()} ({len(mine)} unique)", f"{theirs.total()} ({len(theirs)} unique)")
        shown.add_row("  of them in both", f"{len(set(mine) & set(theirs))}", f"{len(set(mine) & set(theirs))}")
    shown.add_row("computed though it was stored", str(disturbed.again.total()), str(undisturbed.again.total()))
    shown.add_row("drafts left", str(disturbed.drafts), str(undisturbed.drafts))
    shown.add_row("private accesses begun and not ended", str(disturbed.begun), str(undisturbed.begun))
    shown.add_row("reservations left open", str(disturbed.bills), str(undisturbed.bills))
    return shown


def sweeps(folder: Path, chaos: Chaos) -> Iterator[Path]:
    """One sweep after another until all kills are done; two at least."""
    number = 0
    while number < 2 or chaos.left:
        yield write_sweep(folder, number)
        number += 1


def run_all(chaos: Chaos, folder: Path) -> list[Account]:
    """What the sweeps leave, disturbed and then not."""
    accounts, files = [], []
    for name in ("disturbed", "undisturbed"):
        log = folder / f"{name}.log"
        extra = dict(noting(folder / "site", log))
        extra["PYTHONPATH"] = os.pathsep.join((extra["PYTHONPATH"], str(REPO)))
        os.environ |= extra | {"RAY_TMPDIR": str(folder / "ray"), "RAY_AUTH_MODE": "disabled"}
        chaos.nodes.start()
        for file in tuple(files) or sweeps(folder, chaos):
            if name == "disturbed":
                files.append(file)
            chaos.sweep(file, folder / name, dict(os.environ))
        chaos.nodes.stop()
        accounts.append(Account.of(folder / name, log, set_id=SET))
    return accounts


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background deaf to it
    folder, rng = Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp")), random.Random(options.seed)
    images(folder / "public", classes=20, each=6, seed=0)
    images(folder / "sensitive", classes=3, each=60, seed=1)
    chaos, started = Chaos(rng=rng, left=kinds_of(options.kills, rng), nodes=Nodes(), folder=folder), time.monotonic()
    try:
        disturbed, undisturbed = run_all(chaos, folder)
    finally:
        chaos.nodes.stop()
    print(f"{chaos.done.total()} kills: " + ", ".join(f"{n} {kind}" for kind, n in sorted(chaos.done.items())))
    print(f"{len(list(folder.glob('*.yaml')))} sweeps, {chaos.starts} starts, {time.monotonic() - started:.0f} s")
    Console().print(table(disturbed, undisturbed))
    end = time.monotonic() + LINGER
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(2)
    every, differences = [title for _, title in processes_of(folder)], disturbed.differences(undisturbed)
    left = [title for title in every if not title.startswith(AGENTS)]
    print(f"orphans left: {len(left)}, and {len(every) - len(left)} agents of nodes", *left, sep="\n  ")
    print(*(f"difference: {one}" for one in differences), *(f"complaint: {one}" for one in chaos.complaints), sep="\n")
    if left or differences or chaos.complaints:
        print(f"see {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
