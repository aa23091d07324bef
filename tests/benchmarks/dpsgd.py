"""Cost of a clipped gradient sum against a plain gradient, as ratios of medians, interleaved in one process.

    python tests/benchmarks/dpsgd.py --sizes dct-mlp-512 unet-xs --rounds 10

Every row is also checked against the loop over single examples on a small batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from privimage import edm, networks
from privimage.dpsgd import linear, loop, vmap
from privimage.dpsgd.draws import Draws, draw
from privimage.networks import Generator

ENGINES = {"linear": linear.add_clipped_sum, "vmap": vmap.add_clipped_sum}


def batch(generator: Generator, *, n: int, K: int, shape: networks.Shape, device: str) -> Draws:
    """n random images with K draws each."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, *shape), generator=rng, dtype=torch.uint8).to(device)
    y = torch.arange(n) % generator.n_classes
    z = generator.codec.encode(x)
    return draw(z, y, K=K, edm=generator.edm, null=generator.null, label_dropout=0.1, generator=rng)


def plain(generator: Generator, draws: Draws) -> None:
    """The gradient of the mean loss, without any clipping."""
    edm.loss(generator.F, *draws.flat(), sigma_data=generator.edm.sigma_data).mean().backward()


def error(generator: Generator, engine: Callable[..., torch.Tensor], draws: Draws) -> float:
    """Largest difference to the loop's clipped sum, relative to its largest entry; clipping bites half the batch."""
    bound = float(loop.add_clipped_sum(generator.F, draws, edm=generator.edm, C=1.0).median())
    sums = []
    for add in (loop.add_clipped_sum, engine):
        generator.F.zero_grad(set_to_none=True)
        add(generator.F, draws, edm=generator.edm, C=bound)
        sums.append(torch.cat([p.grad.flatten() for p in generator.F.parameters()]))
    return float((sums[0] - sums[1]).abs().max() / sums[0].abs().max())


def rows(size: str, *, n: int, K: int, rounds: int, device: str) -> list[tuple[str, ...]]:
    """One table row an engine: time over the plain step, and the error against the loop."""
    shape = (1, 28, 28)
    generator = networks.build(size, shape=shape, n_classes=10, seed=0).to(device)
    with torch.no_grad():  # away from the zero initialisation, where most gradients vanish
        for p in generator.F.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)).to(device) * 0.02)
    engines = {name: add for name, add in ENGINES.items() if name != "linear" or linear.supports(generator.F)}
    draws, small = (batch(generator, n=m, K=K, shape=shape, device=device) for m in (n, 6))
    times: dict[str, list[float]] = {"plain": [], **{name: [] for name in engines}}

    def run(name: str) -> None:
        generator.F.zero_grad(set_to_none=True)
        if name == "plain":
            plain(generator, draws)
        else:
            engines[name](generator.F, draws, edm=generator.edm, C=0.5)
        if device != "cpu":
            torch.cuda.synchronize()

    for name in times:
        run(name)  # warm up
    for _ in track(range(rounds), description=f"{size} K={K}"):
        for name, seconds in times.items():
            start = time.perf_counter()
            run(name)
            seconds.append(time.perf_counter() - start)
    base = statistics.median(times["plain"])
    return [
        (
            size,
            str(n),
            str(K),
            name,
            f"{statistics.median(times[name]) / base:.2f}",
            f"{error(generator, add, small):.1e}",
        )
        for name, add in engines.items()
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["dct-mlp-512", "unet-xs"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--n", type=int, default=32, help="examples in a batch")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    table = Table("size", "examples", "K", "engine", "time / plain step", "error against loop")
    for size in options.sizes:
        for K in (1, 4):
            for row in rows(size, n=options.n, K=K, rounds=options.rounds, device=options.device):
                table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
