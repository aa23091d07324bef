"""The query function: images a second of training it and of asking with it, beside plain torch, and memory.

    python tests/benchmarks/query.py                                         small, on the CPU
    python tests/benchmarks/query.py --images 20000 --batch 256 --rounds 5   more of all
    python tests/benchmarks/query.py --device cuda --precision bf16 --batch 2048 --images 200000

Plain training is the same network, batches and optimizer, with images that are floats on the device already; plain
asking holds the logits of all images before it counts. All take turns in one process; a ratio is the median over rounds
of that round's ratio of time. Memory is the growth of the resident size at its peak (on a GPU: of what torch has
allocated), each run in a process of its own. Images are random, and of an array: none is read from a disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from privimage.data.sets import PrivateSet, PublicSet
from privimage.progress import silent
from privimage.query import SemanticsConfig
from privimage.query_network import query_network
from privimage.query_training import PART, train_query_function
from privimage.semantics import BLOCK, QueryFunction
from privimage.workers import Workers

CLASSES, LABELS = 1000, 10
RUNS = ("train plain", "train ours", "ask plain", "ask ours")


def sets(n: int, side: int) -> tuple[PublicSet, PrivateSet]:
    """Random colour images, as a public set and as a sensitive one."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    public = PublicSet(x=x, y=np.arange(n) % CLASSES, name="random", classes=tuple(map(str, range(CLASSES))))
    labels = tuple(map(str, range(LABELS)))
    return public, PrivateSet(x=x, y=np.arange(n) % LABELS, name="r", id="r", split="train", classes=labels)


def runs(network: str, options: argparse.Namespace) -> dict[str, Callable[[], int]]:
    """What is timed, by name: each says how many images it went through."""
    device, k1 = torch.device(options.device), options.k1
    public, sensitive = sets(options.images, options.side)
    config = SemanticsConfig(
        network=network, steps=options.steps, batch=options.batch, precision=options.precision, augment=False
    )
    net = query_network(config.network, channels=3, n_classes=CLASSES).to(device)
    function = QueryFunction(net=net, n_classes=CLASSES)

    def train_ours() -> int:
        train_query_function(public, config=config, seed=0, workers=Workers.alone(device), progress=silent)
        return config.steps * config.batch

    def train_plain() -> int:
        own = query_network(config.network, channels=3, n_classes=CLASSES).to(device).train()
        x = torch.rand(config.batch, *public.shape, device=device)
        y = (torch.arange(config.batch) % CLASSES).to(device)
        part = config.batch if network == "cnn" else PART
        small = network == "cnn"
        step = (
            torch.optim.AdamW(own.parameters(), fused=True)
            if small
            else torch.optim.SGD(own.parameters(), lr=1e-9, momentum=0.9, weight_decay=5e-4)
        )
        for _ in range(config.steps):
            step.zero_grad()
            for some, classes in zip(x.split(part), y.split(part), strict=True):
                with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                    logits = own(some)
                functional.cross_entropy(logits.float(), classes).backward()
            step.step()
        return config.steps * config.batch

    def ask_ours() -> int:
        net.eval()
        function.counts(sensitive, k1=k1, labels=LABELS)
        return len(sensitive)

    @torch.no_grad()
    def ask_plain() -> int:
        net.eval()
        x = torch.from_numpy(sensitive.x).to(device)  # type: ignore[arg-type]
        logits = torch.cat([net(some.float() / 255) for some in x.split(BLOCK)]).cpu()
        S = np.zeros((LABELS, CLASSES), np.int64)
        for column in logits.topk(k1, dim=1).indices.numpy().T:
            np.add.at(S, (sensitive.y, column), 1)
        return len(sensitive)

    return dict(zip(RUNS, (train_plain, train_ours, ask_plain, ask_ours), strict=True))


def timed(run: Callable[[], int], device: str) -> tuple[float, int]:
    """Seconds, and images."""
    start = time.perf_counter()
    images = run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start, images


def peak(network: str, name: str, options: argparse.Namespace) -> float:
    """Bytes by which a run raises the peak of memory."""
    run = runs(network, options)[name]
    if options.device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at the peak (VmHWM)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def compare(network: str, options: argparse.Namespace) -> Table:
    """All runs with one network."""
    where = torch.cuda.get_device_name() if options.device != "cpu" else f"{torch.get_num_threads()} threads"
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    size = f"{options.side} px, batch {options.batch}, {CLASSES} classes, k1 {options.k1}"
    table = Table("run", "images/s", "time against plain", "memory MiB", title=f"{network}, {size}: {where}, {load}")
    made, took = runs(network, options), {name: list[float]() for name in RUNS}
    images = {}
    for number in range(options.rounds + 1):  # the first round warms up
        for name, run in made.items():
            seconds, images[name] = timed(run, options.device)
            if number:
                took[name].append(seconds)
    for name in RUNS:
        plain = took[name.split()[0] + " plain"]
        ratio = statistics.median(a / b for a, b in zip(took[name], plain, strict=True))
        speed = images[name] / statistics.median(took[name])
        command = [sys.executable, __file__, *sys.argv[1:], "--networks", network, "--peak", name]
        memory = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        table.add_row(name, f"{speed:.0f}", f"{ratio:.2f}", f"{memory / 2**20:.0f}")
    return table


def main() -> None:
    """Print a table for every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["cnn", "resnet50"])
    parser.add_argument("--images", type=int, default=1000, help="that are asked, and trained on")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="of training, in a round")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--k1", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of activations in training")
    parser.add_argument("--peak", choices=RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(options.networks[0], options.peak, options))
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    for network in options.networks:
        console.print(compare(network, options))


if __name__ == "__main__":
    main()
