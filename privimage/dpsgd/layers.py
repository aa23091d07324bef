"""The clipped sum by one forward and one backward pass, layer by layer: networks whose trainable layers have a rule.

The rules (`privimage.dpsgd.rules`) turn inputs and output gradients into per-example gradients of the mean over K
draws, or into their norms alone; the norm is over all layers together, and the clipped sum needs no second pass over
the network. (Goodfellow 2015; Bu et al. 2023, with noise multiplicity.)
"""

from __future__ import annotations

import copy
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from privimage import edm as diffusion
from privimage.dpsgd.clip import clip_factor
from privimage.dpsgd.draws import Draws
from privimage.dpsgd.rules import RULES
from privimage.dpsgd.rules.rule import Factors, Plan, Rule, Summary
from privimage.dpsgd.tape import Tape
from privimage.edm import EDM

AGREEMENT = 1e-3  # of the sums in `_verify`, relative; a use that is not seen changes them by far more
# networks, with their trainable parameters, whose sums were compared with autograd's
_verified: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


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


def add_clipped_sum(F: nn.Module, draws: Draws, *, edm: EDM, C: float) -> Tensor:
    """Norms [n] of the per-example gradients; adds sum_i min(1, C / |g_i|) g_i to every trainable `p.grad`.

    Raises ValueError if a trainable parameter belongs to a layer without a rule (use the vmap engine), if a trainable
    layer is not called, or called with other rows than the n*K draws, or if a weight is used in any other way.
    """
    n, K = draws.shape
    if n == 0:
        return torch.zeros(0)
    trainable = frozenset(name for name, p in F.named_parameters() if p.requires_grad)
    if _verified.get(F) != trainable:
        _verify(F, draws, edm)
        _verified[F] = trainable
    summaries = _summaries(F, draws, edm, Plan(n=n, K=K))
    norm = torch.stack([one.squared for one in summaries]).sum(0).sqrt()
    _add(summaries, clip_factor(norm, C))
    return norm.to(draws.z.dtype)


@torch.no_grad()
def _add(summaries: list[Summary], factor: Tensor) -> None:
    factors = Factors.of(factor)
    for one in summaries:
        one.add(factors)


def _summaries(F: nn.Module, draws: Draws, edm: EDM, plan: Plan) -> list[Summary]:
    """Of every trainable layer, from one forward and one backward pass. Raises ValueError."""
    tape = Tape(_rules(F), plan, draws.z.device)
    with tape.recording():
        each = diffusion.loss(F, *draws.flat(), sigma_data=edm.sigma_data)
    tape.backward(each.sum() / plan.K)
    return list(tape.summaries.values())


def _rules(F: nn.Module) -> dict[nn.Module, Rule]:
    """Every layer of F that trains a parameter of its own, with its rule. Raises ValueError if one has none."""
    why = refusal(F)
    if why:
        raise ValueError(f"engine: 'layers' cannot handle {why}; use 'vmap'")
    trained = [m for m in F.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    return {layer: RULES[type(layer)] for layer in trained}


def _verify(F: nn.Module, draws: Draws, edm: EDM) -> None:
    """Compare the unclipped sum with autograd's, once a network, on two random images and a copy with other weights.

    Other weights, because a network at its start may have zeros that hide everything before them. Raises ValueError
    if the sums differ: then a weight is used in a way that the rules do not see.
    """
    _rules(F)
    rng = torch.Generator().manual_seed(0)
    G = copy.deepcopy(F)
    G.zero_grad(set_to_none=True)
    with torch.no_grad():
        for p in G.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=rng).to(p))
    few = draws.split(2)[0]
    z, noise = (torch.randn(t.shape, generator=rng).to(t) for t in (few.z, few.noise))
    fake = replace(few, z=z, noise=noise, sigma=torch.ones_like(few.sigma))
    trainable = {name: p for name, p in G.named_parameters() if p.requires_grad}
    each = diffusion.loss(G, *fake.flat(), sigma_data=edm.sigma_data)
    wanted = torch.autograd.grad(each.sum() / fake.shape[1], list(trainable.values()), allow_unused=True)
    n, K = fake.shape
    _add(_summaries(G, fake, edm, Plan(n=n, K=K, timed=False)), torch.ones(n, device=z.device, dtype=torch.float64))
    largest = max(float(truth.abs().max()) for truth in wanted if truth is not None)
    for (name, p), truth in zip(trainable.items(), wanted, strict=True):
        allowed = 0.0 if truth is None else AGREEMENT * (float(truth.abs().max()) + 0.01 * largest)
        if truth is None or p.grad is None or not float((p.grad - truth).abs().max()) <= allowed:
            raise ValueError(f"engine: 'layers' does not see every use of {name!r}; use 'vmap'")
