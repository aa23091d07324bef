"""Gradient engines: the sum over examples of clipped per-example gradients, added to every `p.grad`.

The gradient of one example is that of the mean over its K draws, and it is clipped once, over all trainable
parameters together (PrivImage, Algorithm 2, with DPDM's noise multiplicity). An engine is any function of this
signature; of what is trained it knows the loss of a batch's rows and no more. `loop` is the definition, the others
must agree with it. A trainable parameter that an engine cannot see is an error, never a zero norm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from privimage.dpsgd import layers, loop, opacus_hooks, vmap
from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.config import EngineName, FinetuneConfig
from privimage.dpsgd.static import StaticSum
from privimage.workers import Workers

Engine = Callable[..., Tensor]  # (F, batch, *, loss, C) -> norms before clipping [n]

ENGINES: dict[str, Engine] = {
    "layers": layers.add_clipped_sum,
    "vmap": vmap.add_clipped_sum,
    "opacus": opacus_hooks.add_clipped_sum,
    "loop": loop.add_clipped_sum,
}


def adder(
    F: nn.Module, *, config: FinetuneConfig, loss: Loss, C: float, size: int, workers: Workers
) -> Callable[[Batch], object]:
    """What adds the clipped sum of a batch of at most `size` examples to every trainable `p.grad`, which are there.

    On a GPU it is the static step, where the engine has one: it does the same work whatever is in the batch.
    """
    engine = choose(config.engine, F)
    if engine is ENGINES["layers"] and workers.device.type == "cuda":
        return StaticSum(F, loss=loss, C=C, size=size, recorded=workers.graphs)
    return partial(engine, F, loss=loss, C=C)


def choose(name: EngineName, F: nn.Module) -> Engine:
    """The engine of that name; `auto` is the fastest one that supports every trainable layer of F."""
    if name == "auto":
        name = "layers" if layers.supports(F) else "vmap"
    return ENGINES[name]


__all__ = ["ENGINES", "Batch", "Engine", "Loss", "adder", "choose"]
