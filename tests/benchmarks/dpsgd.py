"""Cost of a private step against the non-private step of the same network, as ratios inside one run.

    python tests/benchmarks/dpsgd.py                                     the table: time, memory, error
    python tests/benchmarks/dpsgd.py --sizes unet-1.75m --K 8 --n 32 --rounds 20
    python tests/benchmarks/dpsgd.py --sizes gan-s gan-9.42m --K 1       the discriminator of a GAN
    python tests/benchmarks/dpsgd.py --end-to-end --sampler --explain    and more tables
    python tests/benchmarks/dpsgd.py --device cuda --precision bf16      on a GPU (Opacus's hooks stay at fp32)

A step is forward, backward, clipped sum, noise and Adam; the non-private one has neither clip nor noise. All variants
take turns in one process; a ratio is the median over rounds of that round's ratio. Wall time suffers from whatever else
the machine does, processor time does so less, but counts threads that spin. Memory is the growth of the resident size
at its peak over two steps, each variant in a process of its own, with every tensor in pages of its own: what is in use,
not what the C library holds back in a fragmented heap. The error is that of the clipped sum of six examples against the
loop over single examples, over its largest entry.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from privimage.data.sets import PrivateSet
from privimage.dpsgd import layers, loop, opacus_hooks, vmap
from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.finetune import fine_tune
from privimage.dpsgd.noise import StepNoise, StreamNoiseOptimizer
from privimage.dpsgd.poisson import poisson_batches
from privimage.dpsgd.rules.fastest import explain
from privimage.generators import edm, sizes
from privimage.generators.config import Precision
from privimage.generators.diffusion import Diffusion
from privimage.generators.generator import Generator, SampleConfig, Training
from privimage.generators.pretrain import Seeded
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.workers import Workers

SHAPE = (3, 32, 32)
IMAGES = 32  # network images of a step (examples x draws), unless --n says otherwise
C, ENTROPY = 0.5, Entropy(bytes(32))
Add = Callable[..., torch.Tensor]
ENGINES: dict[str, Add] = {
    "layers": layers.add_clipped_sum,
    "opacus": opacus_hooks.add_clipped_sum,
    "opacus functorch": partial(opacus_hooks.add_clipped_sum, functorch=True),
    "vmap": vmap.add_clipped_sum,
}
VARIANTS = ("non-private", *ENGINES)
COLUMNS = ("examples", "K", "step", "seconds", "wall", "processor")


def machine(device: str) -> str:
    """What the figures were measured on."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    with open("/proc/cpuinfo") as file:
        model = next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown processor"
        )
    return f"{torch.get_num_threads()} threads of {model}"


def build(size: str, device: str, precision: Precision) -> Generator:
    """A generator away from its zero initialisation, where most gradients vanish."""
    generator = sizes.build(size, shape=SHAPE, n_classes=10, seed=0).to(device)
    if isinstance(generator, Diffusion):
        generator.edm = replace(generator.edm, precision=precision)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in generator.F.parameters():
            p.add_(torch.randn(p.shape, generator=rng).to(device) * 0.02)
    return generator


def loss_of(generator: Generator) -> Loss:
    """Of a diffusion in its precision, of others in float32."""
    precision: Precision = generator.edm.precision if isinstance(generator, Diffusion) else "fp32"
    return generator.loss(Training(precision=precision))


def batch(generator: Generator, *, n: int, K: int, device: str) -> Batch:
    """n random images with K draws each."""
    rng = torch.Generator().manual_seed(0)
    z = generator.codec.encode(torch.randint(0, 256, (n, *SHAPE), generator=rng, dtype=torch.uint8).to(device))
    y = torch.arange(n) % generator.n_classes
    return generator.batch(z, y, training=Training(K=K, label_dropout=0.1), rng=Seeded(rng))


def stepper(generator: Generator, variant: str, draws: Batch) -> Callable[[], None]:
    """One training step of the variant; the learning rate is too small to matter."""
    parameters = list(generator.F.parameters())
    adam = torch.optim.Adam(parameters, lr=1e-9)
    if variant == "non-private":
        loss = loss_of(generator)

        def step() -> None:
            adam.zero_grad(set_to_none=True)
            loss(generator.F, *draws.flat()).mean().backward()
            adam.step()

        return step
    noise = StepNoise(ENTROPY, count=sum(p.numel() for p in parameters), device=parameters[0].device)
    noisy = StreamNoiseOptimizer(
        adam, noise_multiplier=1.0, max_grad_norm=C, expected_batch_size=draws.shape[0], take=noise.take
    )

    def private() -> None:
        noise.begin(0)
        noisy.zero_grad(set_to_none=True)
        ENGINES[variant](generator.F, draws, loss=of_variant(generator, variant), C=C)
        noisy.step()

    return private


def of_variant(generator: Generator, variant: str) -> Loss:
    """The loss; in float32 where the variant knows no other precision."""
    loss = loss_of(generator)
    return loss.exact if variant.startswith("opacus") else loss


def error(generator: Generator, variant: str, draws: Batch) -> float:
    """Largest difference to the loop's clipped sum, relative to its largest entry; clipping bites half the batch.

    The loop works in float32: with bf16 the error is that of the precision.
    """
    full, own = loss_of(generator).exact, of_variant(generator, variant)
    bound = float(loop.add_clipped_sum(generator.F, draws, loss=full, C=1.0).median())
    sums = []
    for add, loss in ((loop.add_clipped_sum, full), (ENGINES[variant], own)):
        generator.F.zero_grad(set_to_none=True)
        add(generator.F, draws, loss=loss, C=bound)
        sums.append(torch.cat([p.grad.flatten() for p in generator.F.parameters()]))
    return float((sums[0] - sums[1]).abs().max() / sums[0].abs().max())


def in_turns(runs: dict[str, Callable[[], None]], *, rounds: int, device: str, what: str) -> dict[str, list[float]]:
    """For each run: seconds of the median round, its ratio to the first run in wall and in processor time."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for i in track(range(rounds + 1), description=what):  # the first round warms up
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            if i:
                took[name].append((time.perf_counter() - wall, time.process_time() - processor))
    first = took[next(iter(runs))]
    return {
        name: [
            statistics.median(wall for wall, _ in each),
            *(statistics.median(a[c] / b[c] for a, b in zip(each, first, strict=True)) for c in (0, 1)),
        ]
        for name, each in took.items()
    }


def peak(size: str, variant: str, *, n: int, K: int, device: str, precision: Precision) -> float:
    """Bytes by which two steps raise the peak of memory."""
    generator = build(size, device, precision)
    step = stepper(generator, variant, batch(generator, n=n, K=K, device=device))
    if device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        step()
        return torch.cuda.max_memory_allocated() - before
    before = resident("VmRSS")
    step()
    step()
    return resident("VmHWM") - before  # not getrusage: its peak survives exec, so it may be that of the parent


def resident(field: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at the peak (VmHWM)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def peak_elsewhere(size: str, variant: str, *, n: int, K: int, options: argparse.Namespace) -> float:
    """`peak` in a process of its own."""
    command = [sys.executable, __file__, "--sizes", size, "--n", str(n), "--K", str(K), "--device", options.device]
    command += ["--precision", options.precision]
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # read by glibc alone
    done = subprocess.run([*command, "--peak", variant], capture_output=True, text=True, check=True, env=env)
    return float(done.stdout.split()[-1])


def compare(size: str, *, n: int, K: int, options: argparse.Namespace) -> Table:
    """The variants on one network and batch."""
    where = f"{machine(options.device)}, load {os.getloadavg()[0]:.1f} at the start"
    table = Table(*COLUMNS, "memory", "error", title=f"{size}: one step, {options.precision}, {where}")
    generator, device = build(size, options.device, options.precision), options.device
    draws, small = (batch(generator, n=m, K=K, device=device) for m in (n, 6))
    runs = {name: stepper(generator, name, draws) for name in options.variants}
    times = in_turns(runs, rounds=options.rounds, device=device, what=f"{size} n={n} K={K}")
    peaks = {name: peak_elsewhere(size, name, n=n, K=K, options=options) for name in options.variants}
    for name, (seconds, wall, processor) in times.items():
        memory = peaks[name] / peaks[options.variants[0]]
        wrong = f"{error(generator, name, small):.0e}" if name in ENGINES else ""
        ratios = (f"{wall:.2f}", f"{processor:.2f}", f"{memory:.2f}")
        table.add_row(str(n), str(K), name, f"{seconds:.2f}", *ratios, wrong)
    return table


def end_to_end(size: str, *, K: int, options: argparse.Namespace) -> Table:
    """The whole fine-tuning stage: the same Poisson batches of varying size for all; draws, noise, averaging."""
    table = Table(*COLUMNS, title=f"{size}: a step of the fine-tuning stage, Poisson batches")
    rng, n, q, steps = np.random.default_rng(0), 256, 8 / 256 if K > 1 else 32 / 256, 8
    x, y = rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8), rng.integers(0, 10, n)
    images = PrivateSet(x=x, y=y, name="random", id="random", split="train", classes=tuple("0123456789"))
    event = Event(purpose="dp-sgd", split="train", sigma=1.0, q=q, steps=steps)

    def private(engine: str) -> None:
        precision = "fp32" if engine == "opacus" else options.precision
        config = FinetuneConfig(
            q=q, steps=steps, C=C, K=K, optimizer="adam", lr=1e-9, engine=engine, precision=precision
        )
        workers = Workers.alone(options.device)
        fine_tune(generator, images, config=config, event=event, entropy=ENTROPY, workers=workers)

    def plain() -> None:
        F, adam = generator.F, torch.optim.Adam(generator.F.parameters(), lr=1e-9)
        for index in poisson_batches(n=n, q=q, steps=steps, stream=ENTROPY.stream("batches")):
            z = generator.codec.encode(torch.from_numpy(x[index.numpy()]).to(options.device))
            labels, rng = torch.from_numpy(y)[index], Seeded(torch.Generator().manual_seed(0))
            draws = generator.batch(z, labels, training=Training(K=K), rng=rng)
            adam.zero_grad(set_to_none=True)
            loss(F, *draws.flat()).mean().backward()
            adam.step()

    generator = build(size, options.device, options.precision)
    loss = loss_of(generator)
    runs = {"non-private": plain, **{name: partial(private, name) for name in ("layers", "opacus")}}
    times = in_turns(runs, rounds=3, device=options.device, what=f"end to end {size} K={K}")
    for name, (seconds, wall, processor) in times.items():
        table.add_row(f"{q * n:.0f}", str(K), name, f"{seconds / steps:.2f}", f"{wall:.2f}", f"{processor:.2f}")
    return table


def sampled(size: str, *, device: str) -> float:
    """Images a second from the default sampler (guidance included)."""
    generator, n = build(size, device, "fp32"), 32
    x = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(0)).to(device)
    label = (torch.arange(n) % 10).to(device)
    start = time.perf_counter()
    edm.sample(lambda sigma: generator.F, x, label, null=10, config=SampleConfig(), sigma_data=generator.edm.sigma_data)
    if device != "cpu":
        torch.cuda.synchronize()
    return n / (time.perf_counter() - start)


def choices() -> Table:
    """The kernels that were chosen."""
    table = Table("weight", "image", "examples", "K", "kernel", "milliseconds", title="Convolution kernels")
    for key, choice in explain():
        timed = ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in sorted(choice.seconds.items()))
        shape, image = ("x".join(map(str, each)) for each in (key.geometry.weight, key.image))
        table.add_row(shape, image, str(key.examples), str(key.K), choice.kernel, timed)
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["unet-1.75m", "unet-6.08m"])
    parser.add_argument("--n", type=int, help=f"examples in a batch; {IMAGES} // K if not given")
    parser.add_argument("--K", type=int, nargs="+", default=[1, 4, 8], help="draws an example")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of the activations")
    parser.add_argument("--end-to-end", action="store_true", help="also the fine-tuning stage with Poisson batches")
    parser.add_argument("--sampler", action="store_true", help="also images a second")
    parser.add_argument("--explain", action="store_true", help="also the chosen kernels and their timings")
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.peak:
        K = options.K[0]
        n, device, precision = options.n or max(1, IMAGES // K), options.device, options.precision
        print(peak(options.sizes[0], options.peak, n=n, K=K, device=device, precision=precision))
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    for size in options.sizes:
        for K in options.K:
            console.print(compare(size, n=options.n or max(1, IMAGES // K), K=K, options=options))
            if options.end_to_end:
                console.print(end_to_end(size, K=K, options=options))
        if options.sampler:
            console.print(f"sampler, {size}: {sampled(size, device=options.device):.2f} images a second")
    if options.explain:
        console.print(choices())


if __name__ == "__main__":
    main()
