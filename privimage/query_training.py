"""Training of the query function on the public set, one batch in memory at a time.

    cnn        AdamW, weight decay 1e-3; the learning rate falls linearly
    resnet..   SGD, momentum 0.9, weight decay 5e-4; the learning rate falls as a cosine  (PrivImage, Table 7; its code)

A batch of a residual network is seen in parts of PART images, each normalised by itself, so memory does not grow with
it; workers take turns with the parts. The small network is trained whole by every worker: it costs less than to share.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from privimage.checkpoint import NO_CHECKPOINT, Checkpoint, Stateful
from privimage.data.augment import mirrored, strokes
from privimage.data.keywords import targets_of
from privimage.data.sets import PublicSet
from privimage.device import onto, tf32
from privimage.progress import Tell
from privimage.query import SemanticsConfig
from privimage.query_network import Residual, Small, query_network
from privimage.workers import Workers

PART = 256  # images of a batch that a residual network sees together


def train_query_function(
    public: PublicSet,
    *,
    config: SemanticsConfig,
    seed: int,
    workers: Workers,
    progress: Tell,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> dict[str, Tensor]:
    """Weights of a `query_network` that classifies the public set, from which batches are drawn with replacement.

    Touches public data only. A killed call goes on from `checkpoint`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = query_network(config.network, channels=public.shape[0], n_classes=len(public.classes))
    net = net.to(workers.device).train()
    rng = torch.Generator().manual_seed(seed)
    order = np.random.default_rng((seed, 2))
    optimizer = _optimizer(net, config)
    parts: dict[str, Stateful] = {"net": net, "optimizer": optimizer, "order": order, "rng": rng}
    for step in range(checkpoint.restore(parts), config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _rate(net, step / config.steps)
        index = order.integers(0, len(public), config.batch)
        optimizer.zero_grad()
        _add_gradients(net, public, index, config=config, rng=rng, workers=workers)
        optimizer.step()
        checkpoint.save(step + 1, parts)
        progress(step + 1, config.steps)
    return {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}


def _optimizer(net: Small | Residual, config: SemanticsConfig) -> torch.optim.Optimizer:
    if isinstance(net, Small):
        return torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=1e-3, fused=True)
    return torch.optim.SGD(net.parameters(), lr=config.lr, momentum=0.9, weight_decay=5e-4)


def _rate(net: Small | Residual, done: float) -> float:
    """The share of the learning rate that is left when so much of the training is done."""
    return max(0.02, 1 - done) if isinstance(net, Small) else (1 + math.cos(math.pi * done)) / 2


def _add_gradients(
    net: Small | Residual,
    public: PublicSet,
    index: NDArray[np.int64],
    *,
    config: SemanticsConfig,
    rng: torch.Generator,
    workers: Workers,
) -> None:
    """Give the parameters the gradient of the mean loss over the images of these places, on every worker."""
    count = 1 if isinstance(net, Small) else math.ceil(len(index) / PART)
    shared = [p for p in net.parameters() if count > 1]
    for p in shared:
        p.grad = torch.zeros_like(p)  # a worker may have no part
    for number, places in enumerate(np.array_split(index, count)):
        draws = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=rng))) if count > 1 else rng
        if count > 1 and number % workers.size != workers.rank:
            continue
        x = varied(floats(public.rows(places), workers.device), config, rng=draws)
        target = torch.from_numpy(targets_of(public, places)).to(workers.device)
        with tf32(config.precision == "tf32"):
            with torch.autocast(workers.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                logits = net(x)
            loss = functional.cross_entropy(logits.float(), target)
            (loss * (len(places) / len(index))).backward()
    workers.all_reduce([p.grad for p in shared if p.grad is not None])


def varied(x: Tensor, config: SemanticsConfig, *, rng: torch.Generator) -> Tensor:
    """The images as training sees them."""
    match config.augment:
        case True:
            return strokes(x, rng=rng)
        case "mirror":
            return mirrored(x, rng=rng)
    return x


def floats(x: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Images in [0, 1] on the device: bytes are what is moved."""
    return onto(device, torch.from_numpy(x)).float() / 255
