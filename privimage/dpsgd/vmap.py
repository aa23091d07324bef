"""The clipped sum by `torch.func.vmap(grad)`: any network, memory for one gradient per example."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.clip import add_clipped


def add_clipped_sum(F: nn.Module, batch: Batch, *, loss: Loss, C: float) -> Tensor:
    """Norms [n] of the per-example gradients; adds sum_i min(1, C / |g_i|) g_i to every trainable `p.grad`."""
    trainable = {name: p for name, p in F.named_parameters() if p.requires_grad}
    fixed = {name: p for name, p in F.named_parameters() if not p.requires_grad} | dict(F.named_buffers())

    def mean(weights: dict[str, Tensor], each: tuple[Tensor, ...], drawn: tuple[Tensor, ...]) -> Tensor:
        def network(*inputs: Tensor) -> Tensor:
            out: Tensor = functional_call(F, {**fixed, **weights}, inputs)
            return out

        return loss(network, *(t.expand(batch.K, *t.shape) for t in each), *drawn).mean()

    weights = {name: p.detach() for name, p in trainable.items()}
    g = vmap(grad(mean), in_dims=(None, 0, 0))(weights, batch.each, batch.drawn)
    return add_clipped(list(trainable.values()), [g[name] for name in trainable], C=C)
