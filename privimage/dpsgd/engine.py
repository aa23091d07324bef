"""Gradient engines: the sum over examples of clipped per-example gradients, added to every `p.grad`.

The gradient of one example is that of the mean over its K draws, and it is clipped once, over all trainable
parameters together (PrivImage, Algorithm 2, with DPDM's noise multiplicity). An engine is any function of this
signature; of what is trained it knows the loss of a batch's rows and no more. `loop` is the definition, the others
must agree with it. A trainable parameter that an engine cannot see is an error, never a zero norm.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from privimage.dpsgd import layers, loop, opacus_hooks, vmap
from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.config import EngineName

Engine = Callable[..., Tensor]  # (F, batch, *, loss, C) -> norms before clipping [n]

ENGINES: dict[str, Engine] = {
    "layers": layers.add_clipped_sum,
    "vmap": vmap.add_clipped_sum,
    "opacus": opacus_hooks.add_clipped_sum,
    "loop": loop.add_clipped_sum,
}


def choose(name: EngineName, F: nn.Module) -> Engine:
    """The engine of that name; `auto` is the fastest one that supports every trainable layer of F."""
    if name == "auto":
        name = "layers" if layers.supports(F) else "vmap"
    return ENGINES[name]


__all__ = ["ENGINES", "Batch", "Engine", "Loss", "choose"]
