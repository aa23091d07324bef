"""Run as a script: `SIZE SIDE LABELS`. Trains and draws with one generator, and prints what it saw. Not a test module.

A process of its own, so that its peak memory is that of this generator.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from known import entropy

from privimage.data.sets import PrivateSet
from privimage.dpsgd import engine, finetune
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.engine import choose
from privimage.generators import sizes
from privimage.generators.config import FollowConfig, PretrainConfig, SampleConfig
from privimage.generators.pretrain import pretrain
from privimage.generators.sampler import draw_images
from privimage.privacy.budget import Event
from privimage.stages import peak_resident_mib
from privimage.workers import Workers

N, CLIP, FOLLOW = 6, 1e-3, FollowConfig(batch=2)


def main() -> None:
    """One step of pre-training, one of DP-SGD on about half of six images, two images."""
    name, side, labels = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    x = np.random.default_rng(0).integers(0, 256, (N, 3, side, side), dtype=np.uint8)
    y, start, workers = np.arange(N) % labels, time.perf_counter(), Workers.alone()
    generator = sizes.build(name, shape=(3, side, side), n_classes=labels, seed=0)
    pretraining = PretrainConfig(images=2, batch=2, follow=FOLLOW)
    quiet = lambda done, total: None  # noqa: E731
    state = pretrain(
        generator, x.__getitem__, y, weights=None, config=pretraining, seed=0, workers=workers, progress=quiet
    )  # fmt: skip
    generator.load_pretrained(state)
    before = {key: p.detach().clone() for key, p in generator.F.named_parameters()}
    norms: list[float] = []
    sums: list[float] = []

    def watched(kind: str, F: torch.nn.Module):  # type: ignore[no-untyped-def]
        chosen = choose(kind, F)

        def sum_up(*args, **options):  # type: ignore[no-untyped-def]
            norms.extend(chosen(*args, **options).tolist())
            sums[:] = [float(torch.cat([p.grad.flatten() for p in F.parameters() if p.grad is not None]).norm())]

        return sum_up

    engine.choose = watched
    event = Event(purpose="dp-sgd", split="train", sigma=1.0, q=0.5, steps=1)
    config = FinetuneConfig(physical_batch=2, K=1, C=CLIP, optimizer="adam", lr=1e-4, follow=FOLLOW)
    private = PrivateSet(x=x, y=y, name="x", id="x", split="train", classes=tuple("abcdefghij"[:labels]))
    tuned = finetune.fine_tune(
        generator, private, config=config, event=event, entropy=entropy(5), workers=workers
    ).value.state  # fmt: skip
    after = dict(generator.F.named_parameters())
    trained = time.perf_counter() - start
    images, _ = draw_images(
        generator, n=2, config=SampleConfig(steps=2, detail_below=0), seed=0, device=torch.device("cpu")
    )
    print(
        json.dumps({
            "norms": norms, "sum": sums[0], "moved": all(not torch.equal(before[key], after[key]) for key in before),
            "finite": all(bool(t.isfinite().all()) for t in (*after.values(), *tuned.values())),
            "shape": images.shape, "differ": bool((images[0] != images[1]).any()), "trained": trained,
            "seconds": time.perf_counter() - start, "peak_mib": peak_resident_mib(),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
