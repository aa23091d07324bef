"""The clipped sum by one forward and one backward pass, layer by layer: networks whose trainable layers have a rule.

The rules (`privimage.dpsgd.rules`) turn inputs and output gradients into per-example gradients of the mean over K
draws, or into their norms alone; the norm is over all layers together, and the clipped sum needs no second pass over
the network. (Goodfellow 2015; Bu et al. 2023, with noise multiplicity.)
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from privimage.dpsgd.batch import Batch, Loss
from privimage.dpsgd.clip import clip_factor
from privimage.dpsgd.rules import RULES
from privimage.dpsgd.rules.rule import BatchPlan, Factors, Rule
from privimage.dpsgd.tape import Tape
from privimage.dpsgd.verify import verify


def supports(F: nn.Module) -> bool:
    """Whether every trainable parameter of F belongs to a layer with a rule."""
    return not refusal(F)


def refusal(F: nn.Module) -> str:
    """The first reason why F cannot be handled; empty if it can."""
    owned: set[int] = set()
    for name, layer in F.named_modules():
        mine = [p for p in layer.parameters(recurse=False) if p.requires_grad]
        if not mine:
            continue
        rule = RULES.get(type(layer))
        why = rule.refusal(layer) if rule else "there is no rule for such a layer"
        if "forward" in layer.__dict__:
            why = "its forward was replaced"
        if owned & {id(p) for p in mine}:
            why = "it shares a weight with another layer"
        if why:
            return f"{type(layer).__name__} {name!r}: {why}"
        owned |= {id(p) for p in mine}
    return ""


def add_clipped_sum(F: nn.Module, batch: Batch, *, loss: Loss, C: float) -> Tensor:
    """Norms [n] of the per-example gradients; adds sum_i min(1, C / |g_i|) g_i to every trainable `p.grad`.

    Raises ValueError if a trainable parameter belongs to a layer without a rule (use the vmap engine), if a trainable
    layer is not called, or called with other rows than the K*n draws, or if a weight is used in any other way.
    """
    if batch.shape[0] == 0:
        return torch.zeros(0)
    see(F, batch, loss=loss)
    return clipped(F, batch, loss=loss, C=C)


def see(F: nn.Module, batch: Batch, *, loss: Loss) -> None:
    """Raise ValueError unless every use of every weight of F is seen, by values that stand in for those of a batch."""
    _rules(F)
    verify("layers", partial(clipped, timed=False), F, batch, loss=loss)


def clipped(
    F: nn.Module, batch: Batch, *, loss: Loss, C: float, counted: Tensor | None = None, timed: bool = True
) -> Tensor:
    """`add_clipped_sum` without a look at F.

    With `counted` [n], the examples that are in the sum (the others fill the batch up), no operation depends on values:
    what a GPU has to do is the same for all batches of a shape. Their contribution is 0, also if it is not finite.
    """
    n, K = batch.shape
    tape = Tape(_rules(F), BatchPlan(n=n, K=K, timed=timed), batch.each[0].device)
    with tape.recording():
        each = loss(F, *batch.by_draw())
    tape.backward(each.sum() / K)
    norm = torch.stack([one.squared for one in tape.summaries.values()]).sum(0).sqrt()
    with torch.no_grad():
        factor = clip_factor(norm, C)
        factors = Factors.of(factor) if counted is None else Factors.masking(factor.where(counted, 0.0))
        for one in tape.summaries.values():
            one.add(factors)
    return norm.to(each.dtype)


def _rules(F: nn.Module) -> dict[nn.Module, Rule]:
    """Every layer of F that trains a parameter of its own, with its rule. Raises ValueError if one has none."""
    why = refusal(F)
    if why:
        raise ValueError(f"engine: 'layers' cannot handle {why}; use 'vmap'")
    trained = [m for m in F.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    return {layer: RULES[type(layer)] for layer in trained}
