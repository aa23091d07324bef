"""What the noise of a private step costs: a keyed stream against torch's own generator, in one run.

    python tests/benchmarks/noise.py                                      unet-27.9m, n=8, K=4, on the CPU
    python tests/benchmarks/noise.py --device cuda --precision bf16 --n 64 --rounds 20
    python tests/benchmarks/noise.py --size unet-1.75m --threads 1

A step is the clipped sum by `layers`, noise, and Adam. The variants take turns in one process: no noise at all; noise
of torch's generator on the device, as Opacus makes it; of the stream, made in a thread while gradients are computed
(what fine-tuning does); of the stream, made after them. A ratio is the median over rounds of that round's ratio to the
step with torch's noise; processor time counts all threads. Above it the parts of the stream's noise, each alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from dpsgd import C, batch, build, in_turns, machine
from opacus.optimizers import DPOptimizerFastGradientClipping
from rich.console import Console
from rich.table import Table

from privimage.dpsgd import layers
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer
from privimage.dpsgd.normals import normals_
from privimage.generators.diffusion import EdmLoss
from privimage.generators.generator import Generator
from privimage.privacy.entropy import Entropy

ENTROPY = Entropy.fresh()


def seconds(run: Callable[[], object], *, device: str, rounds: int) -> float:
    """Of the median round, after one that warms up."""
    took = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:])


def parts(count: int, *, device: str, rounds: int) -> dict[str, float]:
    """Seconds of what the noise of `count` weights is made of, each alone."""
    stream, even = ENTROPY.stream("benchmark"), count + count % 2
    words = torch.empty(even, dtype=torch.int64, pin_memory=device != "cpu")
    there = words.to(device)
    random = torch.Generator(device)
    runs: dict[str, Callable[[], object]] = {
        "bits, on the CPU": lambda: stream.fill(words.numpy()),
        "their way to the device": lambda: there.copy_(words, non_blocking=True),
        "normals, on the device": lambda: normals_(there),
        "torch's float32 normals, on the device": lambda: torch.normal(
            0.0, 1.0, (count,), device=device, generator=random
        ),
    }
    return {name: seconds(run, device=device, rounds=rounds) for name, run in runs.items()}


def steppers(generator: Generator, *, n: int, K: int, device: str) -> dict[str, Callable[[], None]]:
    """A step of every variant on the same batch."""
    F, draws = generator.F, batch(generator, n=n, K=K, device=device)
    parameters = list(F.parameters())
    noise = StepNoise(ENTROPY, count=sum(p.numel() for p in parameters), device=parameters[0].device)
    values = {"max_grad_norm": C, "expected_batch_size": n}
    adam = torch.optim.Adam(parameters, lr=1e-9)
    plain = StreamNoiseOptimizer(adam, noise_multiplier=0.0, take=None, **values)
    torchs = DPOptimizerFastGradientClipping(
        adam, noise_multiplier=1.0, loss_reduction="mean", generator=torch.Generator(device), **values
    )
    keyed = StreamNoiseOptimizer(adam, noise_multiplier=1.0, take=noise.take, **values)
    step = iter(range(10**9))

    def run(optimizer: DPOptimizerFastGradientClipping, *, before: bool = False, after: bool = False) -> None:
        if before:
            noise.begin(next(step))
        optimizer.zero_grad(set_to_none=True)
        layers.add_clipped_sum(F, draws, loss=EdmLoss(edm=generator.edm), C=C)
        if after:
            noise.begin(next(step))
        optimizer.step()

    return {
        "torch's generator": lambda: run(torchs),
        "no noise": lambda: run(plain),
        "stream, in a thread": lambda: run(keyed, before=True),
        "stream, afterwards": lambda: run(keyed, after=True),
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="unet-27.9m")
    parser.add_argument("--n", type=int, default=8, help="examples in a batch")
    parser.add_argument("--K", type=int, default=4, help="draws an example")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch on the CPU; all cores if not given")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of the activations")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.threads:
        torch.set_num_threads(options.threads)
    console, device = Console(width=None if sys.stdout.isatty() else 120), options.device
    generator = build(options.size, device, options.precision)
    count = sum(p.numel() for p in generator.F.parameters())
    where = f"{machine(device)}, load {os.getloadavg()[0]:.1f} at the start"
    table = Table("part", "milliseconds", title=f"Noise for {count / 1e6:.1f}M weights; {where}")
    for name, took in parts(count, device=device, rounds=options.rounds).items():
        table.add_row(name, f"{took * 1e3:.1f}")
    console.print(table)
    runs = steppers(generator, n=options.n, K=options.K, device=device)
    times = in_turns(runs, rounds=options.rounds, device=device, what="steps")
    title = f"{options.size}: a private step, n={options.n}, K={options.K}, {options.precision}"
    table = Table("noise", "milliseconds", "wall", "processor", title=title)
    for name, (took, wall, processor) in times.items():
        table.add_row(name, f"{took * 1e3:.1f}", f"{wall:.3f}", f"{processor:.3f}")
    console.print(table)


if __name__ == "__main__":
    main()
