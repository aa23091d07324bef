"""What training and drawing cost on a GPU: one table, in under six minutes (`make bench-gpu`).

    python tests/benchmarks/gpu.py                               on the first GPU
    python tests/benchmarks/gpu.py --device cpu --rounds 2       the same on a CPU, with a small network: does it run
    python tests/benchmarks/gpu.py --ways                        what other ways of a plain step would gain: minutes
    python tests/benchmarks/gpu.py --ways --device cpu --size unet-s

A step is forward, backward and Adam; a private one also has the clipped sum and its noise. `eager` launches every
kernel, `recorded` plays a CUDA graph of all but the noise and the optimizer. Ratios are medians over rounds in which
all variants take turns; memory is what making and running a step takes of the GPU; images a second count whole
stages, with the reading of images and the drawing of noise. Where there is no GPU, nothing of this is said of one.
The other ways: images in memory as channels_last, and forward and backward by `torch.compile`, which takes a while.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import dpsgd as steps
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from privimage.dpsgd.batch import Batch
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer
from privimage.dpsgd.static import StaticSum
from privimage.generators.config import Precision, PretrainConfig, SampleConfig
from privimage.generators.generator import Generator
from privimage.generators.pretrain import pretrain
from privimage.generators.sampler import draw_images
from privimage.progress import silent
from privimage.recorded import Recorded
from privimage.workers import Workers

SETTINGS = (("unet-1.75m", 64, 4), ("unet-27.9m", 16, 8))  # network, examples, draws of each
SMALL = (("dct-mlp-192", 8, 2),)  # where only whether it runs is asked
C = 0.5
Step = Callable[[], None]


def plain(generator: Generator, draws: Batch, *, recorded: bool, last: bool = False, compiled: bool = False) -> Step:
    """An ordinary step; if asked with images as channels_last, or by `torch.compile`."""
    F, loss, fields = generator.F, steps.loss_of(generator), draws.flat()
    if last:
        F = copy.deepcopy(F).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        F.layout = torch.channels_last
    parameters = list(F.parameters())
    adam = torch.optim.Adam(parameters, lr=1e-9, fused=True)
    sums = [torch.zeros_like(p) for p in parameters]

    def value(*rows: torch.Tensor) -> torch.Tensor:
        return loss(F, *rows).mean()

    mean = torch.compile(value) if compiled else value

    def gradients(*rows: torch.Tensor) -> None:
        torch._foreach_copy_(sums, torch.autograd.grad(mean(*rows), parameters))

    run = Recorded(gradients, *fields, into=sums) if recorded else gradients

    def step() -> None:
        run(*fields)
        for p, g in zip(parameters, sums, strict=True):
            p.grad = g
        adam.step()

    return step


def private(generator: Generator, draws: Batch, *, recorded: bool) -> Step:
    """A step of DP-SGD."""
    parameters = list(generator.F.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    noise = StepNoise(steps.ENTROPY, count=sum(p.numel() for p in parameters), device=parameters[0].device)
    adam = StreamNoiseOptimizer(
        torch.optim.Adam(parameters, lr=1e-9, fused=True),
        noise_multiplier=1.0,
        max_grad_norm=C,
        expected_batch_size=draws.shape[0],
        take=noise.take,
    )
    add = StaticSum(generator.F, loss=steps.loss_of(generator), C=C, size=draws.shape[0], recorded=recorded)

    def step() -> None:
        noise.begin(0)
        adam.zero_grad(set_to_none=True)
        torch._foreach_zero_(sums)
        for p, total in zip(parameters, sums, strict=True):
            p.grad = total
        add(draws)
        adam.step()

    return step


def variants(generator: Generator, draws: Batch, *, gpu: bool) -> dict[str, Callable[[], Step]]:
    """How to make each step; the plain eager one is first: ratios are to it."""
    makers: dict[str, Callable[[], Step]] = {"plain eager": partial(plain, generator, draws, recorded=False)}
    makers["private eager"] = partial(private, generator, draws, recorded=False)
    if gpu:
        makers["plain recorded"] = partial(plain, generator, draws, recorded=True)
        makers["private recorded"] = partial(private, generator, draws, recorded=True)
    makers["private, Opacus's hooks"] = partial(steps.stepper, generator, "opacus", draws)
    return makers


def ways(generator: Generator, draws: Batch, *, gpu: bool) -> dict[str, Callable[[], Step]]:
    """How else to make a plain step; on a GPU the recorded one is the one to beat."""
    of = partial(plain, generator, draws)
    makers: dict[str, Callable[[], Step]] = {"plain eager": partial(of, recorded=False)}
    for name, recorded in (("eager", False), *((("recorded", True),) if gpu else ())):
        if recorded:
            makers["plain recorded"] = partial(of, recorded=True)
        makers[f"channels_last, {name}"] = partial(of, recorded=recorded, last=True)
        makers[f"torch.compile, {name}"] = partial(of, recorded=recorded, compiled=True)
        makers[f"both, {name}"] = partial(of, recorded=recorded, last=True, compiled=True)
    return makers


def made(make: Callable[[], Step], device: str) -> tuple[Step, str]:
    """A step, and on a GPU the MiB that making and running it takes from the GPU: a recording keeps its own."""
    if device == "cpu":
        return make(), ""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    step = make()
    step()
    torch.cuda.synchronize()
    return step, f"{(torch.cuda.max_memory_reserved() - before) / 2**20:.0f}"


def table_of_steps(size: str, n: int, K: int, *, options: argparse.Namespace) -> Table:
    """All variants of a step, in turns."""
    device = options.device
    title = f"{size}, {n} examples x {K}, {options.precision}: one step on {steps.machine(device)}"
    table = Table("step", "ms", "of plain eager", "of plain recorded", "MiB", title=title)
    generator = steps.build(size, device, options.precision)
    draws = steps.batch(generator, n=n, K=K, device=device)
    makers = (ways if options.ways else variants)(generator, draws, gpu=device != "cpu")
    steps_of = {name: made(make, device) for name, make in makers.items()}
    runs = {name: step for name, (step, _) in steps_of.items()}
    times = steps.in_turns(runs, rounds=options.rounds, device=device, what=title)
    recorded = times.get("plain recorded")
    for name, (seconds, ratio, _) in times.items():
        beside = f"{seconds / recorded[0]:.2f}" if recorded else ""
        table.add_row(name, f"{seconds * 1e3:.1f}", f"{ratio:.2f}", beside, steps_of[name][1])
    return table


def pretrained(size: str, *, device: str, precision: Precision, images: int, graphs: bool) -> float:
    """Images a second of pre-training, codec and average included."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (4096, *steps.SHAPE), dtype=np.uint8), rng.integers(0, 10, 4096)
    generator, workers = steps.build(size, device, "fp32"), Workers.alone(device, graphs=graphs)
    config = PretrainConfig(images=images, batch=256, precision=precision)
    run = partial(pretrain, generator, x.__getitem__, y, weights=None, seed=0, workers=workers, progress=silent)
    return rate(lambda n: run(config=config.model_copy(update={"images": n})), images, first=512)


def sampled(size: str, *, device: str, precision: Precision, n: int, graphs: bool) -> float:
    """Images a second of the sampler: 16 steps, with guidance."""
    generator = steps.build(size, device, "fp32")
    generator.graphs = graphs
    config = SampleConfig(steps=16, guidance=1.2, precision=precision)
    draw = partial(draw_images, generator, config=config, seed=0, device=torch.device(device))
    return rate(lambda n: draw(n=n), n, first=64)


def rate(run: Callable[[int], object], n: int, *, first: int) -> float:
    """Of n a second, after a few that choose kernels, and for the sampler are recorded."""
    run(min(n, first))
    start = time.perf_counter()
    run(n)
    return n / (time.perf_counter() - start)


def table_of_stages(size: str, *, options: argparse.Namespace) -> Table:
    """Pre-training and sampler, eager and played back, at both precisions."""
    device, cpu = options.device, options.device == "cpu"
    title = f"{size} at {steps.SHAPE[1]} px: whole stages on {steps.machine(device)}, images/s"
    precisions = [*dict.fromkeys(("fp32", options.precision))]
    table = Table("stage", *precisions, title=title)
    trained = partial(pretrained, size, device=device, images=2_048 if cpu else 50_000)
    drawn = partial(sampled, size, device=device, n=128 if cpu else 4_000)
    for name, graphs in (("eager", False), *(() if cpu else (("recorded", True),))):
        for stage, made in (("pre-training", trained), ("sampler, 16 steps, guidance", drawn)):
            rates = [f"{made(precision=precision, graphs=graphs):,.0f}" for precision in precisions]
            table.add_row(f"{stage}, {name}", *rates)
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to see whether it runs")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="of the activations; bf16 on a GPU")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ways", action="store_true", help="other ways of a plain step, in the place of all else")
    parser.add_argument("--size", help="this network alone, 32 examples of one draw")
    options = parser.parse_args()
    cpu = options.device == "cpu"
    if not cpu and not torch.cuda.is_available():
        sys.exit("bench-gpu: no GPU here, so there is nothing to say of one; --device cpu shows whether it runs")
    options.precision = options.precision or ("fp32" if cpu else "bf16")
    warnings.simplefilter("ignore")
    console, settings = Console(width=None if sys.stdout.isatty() else 120), SMALL if cpu else SETTINGS
    settings = ((options.size, 32, 1),) if options.size else settings
    for size, n, K in settings:
        console.print(table_of_steps(size, n, K, options=options))
    if not options.ways:
        console.print(table_of_stages(settings[0][0], options=options))


if __name__ == "__main__":
    main()
