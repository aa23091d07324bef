"""What a rule is: how the per-example gradients of one kind of layer follow from its inputs and output gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from privimage.device import tf32
from privimage.dpsgd.clip import add_to_grad

ROUNDING = 1e-6  # relative error allowed for in float32 Gram products, in which draws and positions may cancel
LEAST_BUDGET = 64 * 2**20  # bytes of per-example gradients that may always be kept
Use = tuple[Tensor, ...]  # what a rule keeps of one call of a layer; every tensor begins with K*n rows


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Clip factors of examples; those with factor 0 add nothing, whatever their gradients are.

    A factor is 0 where a gradient is not finite, and 0 * nan is nan: such examples are left out, not multiplied. Either
    `alive` are the places of the others (None: all), and `value` [m] has their factors; or, where no shape may depend
    on values, `value` [n] has all, and `mask` [n] says which are above 0: the rest is taken for zeros.
    """

    value: Tensor
    alive: Tensor | None = None
    mask: Tensor | None = None

    @staticmethod
    def of(value: Tensor) -> Factors:
        """The factors with the examples to leave out. On a GPU, this waits for it."""
        alive = None if bool((value > 0).all()) else (value > 0).nonzero().squeeze(1)
        return Factors(value=value if alive is None else value[alive], alive=alive)

    @staticmethod
    def masking(value: Tensor) -> Factors:
        """The same, with no shape that depends on values."""
        return Factors(value=value, mask=value > 0)

    def select(self, per_example: Tensor) -> Tensor:
        """The entries [m, ...] of the m examples that are not left out, of [n, ...]; or all, zeros in their places."""
        if self.mask is not None:
            return per_example.where(self.mask.view(-1, *[1] * (per_example.dim() - 1)), 0.0)
        return per_example if self.alive is None else per_example[self.alive]

    def sum(self, G: Tensor) -> Tensor:
        """sum_i factor_i G_i [...] of per-example gradients G [n, ...]."""
        G = self.select(G)
        with without_tf32():
            return (self.value.to(G.dtype) @ G.flatten(1)).view(G.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of one layer: squared gradient norms [n] (float64), and what adds the weighted sum to its `p.grad`."""

    squared: Tensor
    add: Callable[[Factors], None]


@dataclass(kw_only=True)
class BatchPlan:
    """n examples x K draws, the bytes of per-example gradients that are kept, and whether kernels are timed."""

    n: int
    K: int
    timed: bool = True
    recorded: int = 0  # bytes of the inputs that the forward pass has kept
    kept: int = field(default=0)

    def by_example(self, rows: Tensor) -> Tensor:
        """[n, K, ...], a view, of rows [K*n, ...]."""
        return rows.view(self.K, self.n, *rows.shape[1:]).transpose(0, 1)

    def rows_of(self, per_example: Tensor) -> Tensor:
        """Rows [K*m, ...] of [m, K, ...]: what `by_example` undoes."""
        return per_example.transpose(0, 1).flatten(0, 1)

    def over_draws(self, rows: Tensor) -> Tensor:
        """Sums [n, ...] over the draws of rows [K*n, ...]."""
        return rows.view(self.K, self.n, *rows.shape[1:]).sum(0) if self.K > 1 else rows

    def keeps(self, bytes_: int, *, instead_of: int) -> bool:
        """Whether per-example gradients of that size are kept; if not, `instead_of` bytes are held for a second pass.

        The budget is the size of the recorded inputs: the backward pass frees these while gradients accumulate.
        """
        fits = self.kept + bytes_ <= max(LEAST_BUDGET, self.recorded) or bytes_ <= instead_of
        self.kept += bytes_ if fits else instead_of
        return fits


class Rule(Protocol):
    """One kind of layer, called with one tensor of K*n rows: the first draw of every example, then the second, ..."""

    def refusal(self, layer: Any) -> str:
        """Why a layer of this kind cannot be handled; empty if it can."""

    def forward(self, layer: Any, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and what the backward pass needs: x itself, in the precision it was used in, and more."""

    def backward(
        self, layer: Any, saved: tuple[Tensor, ...], gy: Tensor, *, needs_x: bool
    ) -> tuple[Tensor | None, Use]:
        """The gradient of x (None unless needed) from that of the output, and what `summary` needs."""

    def summary(self, layer: Any, uses: list[Use], plan: BatchPlan) -> Summary:
        """Norms and weighted sum of the layer's gradient; its calls in one pass are summed before the norm."""


def lowered(x: Tensor) -> Tensor:
    """x in the precision of autocast where that is on: what a product of activations and weights takes."""
    device = x.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if on else x


def wide(dtype: torch.dtype) -> torch.dtype:
    """The precision of norms and sums: float32 for anything less."""
    return torch.float32 if dtype.itemsize < 4 else dtype


def without_tf32() -> AbstractContextManager[None]:
    """Products of float32 are those of float32 while it is open, also on a GPU that would round their inputs.

    The norm of a gradient and what the sum adds of it must be of the same numbers, whether it is made twice or kept:
    rounding that differs would let an example add more than C.
    """
    return tf32(False)


def trained(layer: nn.Module, name: str) -> nn.Parameter | None:
    """The parameter of that name, None if there is none or it is frozen."""
    p = getattr(layer, name)
    return p if isinstance(p, nn.Parameter) and p.requires_grad else None


def squared_norms(G: Tensor) -> Tensor:
    """Squared norms [n], float64, of per-example gradients [n, ...]."""
    norms: Tensor = torch.linalg.vector_norm(G.flatten(1), dim=1)
    return norms.double().square()


def kept(parts: list[tuple[nn.Parameter, Tensor]]) -> Summary:
    """The summary of per-example gradients [n, *p.shape] that are kept, one a parameter."""

    def add(factors: Factors) -> None:
        for p, G in parts:
            add_to_grad(p, factors.sum(G))

    return Summary(squared=torch.stack([squared_norms(G) for _, G in parts]).sum(0), add=add)


def joined(summaries: list[Summary]) -> Summary:
    """The summary of several parameters of one layer."""

    def add(factors: Factors) -> None:
        for one in summaries:
            one.add(factors)

    return Summary(squared=torch.stack([one.squared for one in summaries]).sum(0), add=add)


def gram_total(x: Tensor, g: Tensor) -> Tensor:
    """|sum_r g_r x_r^T|^2 [n] (float64), never under-estimated, from rows x [n, R, a] and g [n, R, b].

    It is sum_{r,r'} (x_r . x_r') (g_r . g_r'): exact, by two R x R Gram matrices. (Goodfellow 2015, with R rows.)
    """
    if x.shape[1] == 1:
        return x.double().square().sum((1, 2)) * g.double().square().sum((1, 2))
    terms = (x @ x.transpose(1, 2)).double() * (g @ g.transpose(1, 2)).double()
    return terms.sum((1, 2)) + ROUNDING * terms.abs().sum((1, 2))
