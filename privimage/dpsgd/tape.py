"""One forward and one backward pass that leave what every layer's rule needs, and no weight gradient.

During the forward pass a layer with a rule runs the rule's forward in place of its own, as one node of autograd. Its
backward hands the output gradient to the rule; once the gradients of all calls of a layer are there, the rule
summarises them, so that inputs are freed while the pass goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from privimage.dpsgd.rules.rule import BatchPlan, Rule, Summary, Use


class Tape:
    """The calls of the layers in one pass over n examples x K draws, and their summaries."""

    def __init__(self, rules: Mapping[nn.Module, Rule], plan: BatchPlan, device: torch.device) -> None:
        self.rules, self.plan = rules, plan
        self.anchor = torch.zeros((), device=device, requires_grad=True)  # makes every call a node of autograd
        self.calls: dict[nn.Module, int] = dict.fromkeys(rules, 0)
        self.uses: dict[nn.Module, list[Use]] = {layer: [] for layer in rules}
        self.summaries: dict[nn.Module, Summary] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While it is open, the layers' forward is that of their rules."""
        try:
            for layer, rule in self.rules.items():
                layer.forward = partial(self._call, layer, rule)
            yield
        finally:
            for layer in self.rules:
                layer.__dict__.pop("forward", None)

    def _call(self, layer: nn.Module, rule: Rule, x: Tensor) -> Tensor:
        rows = self.plan.n * self.plan.K
        if len(x) != rows:
            raise ValueError(
                f"engine: 'layers' needs every layer on [examples x draws, ...]: {type(layer).__name__} got {len(x)} "
                f"rows, not {rows}; use 'vmap'"
            )
        self.calls[layer] += 1
        y: Tensor = _Call.apply(x, self.anchor, self, layer, rule)  # type: ignore[no-untyped-call]
        return y

    def backward(self, loss: Tensor) -> None:
        """The backward pass. Raises ValueError if a call of a layer takes no part in the loss."""
        torch.autograd.grad(loss, self.anchor, allow_unused=True)
        for layer in self.rules:
            if layer not in self.summaries:
                raise ValueError(f"engine: a trainable {type(layer).__name__} takes no part in the network's output")

    def collect(self, layer: nn.Module, rule: Rule, use: Use) -> None:
        """Take what one call left; summarise the layer when it was the last."""
        self.uses[layer].append(use)
        if len(self.uses[layer]) == self.calls[layer]:
            self.summaries[layer] = rule.summary(layer, self.uses.pop(layer), self.plan)


class _Call(torch.autograd.Function):
    """One call of a layer, by its rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, tape: Tape, layer: nn.Module, rule: Rule) -> Tensor:
        y, saved = rule.forward(layer, x)
        tape.plan.recorded += sum(t.numel() * t.element_size() for t in saved)
        ctx.save_for_backward(*saved)
        ctx.tape, ctx.layer, ctx.rule = tape, layer, rule
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        # detached: saved tensors hold the graph, the graph this call, and the call the tape with all that is kept
        saved = tuple(t.detach() for t in ctx.saved_tensors)
        gx, use = ctx.rule.backward(ctx.layer, saved, gy, needs_x=ctx.needs_input_grad[0])
        ctx.tape.collect(ctx.layer, ctx.rule, use)
        return gx, None, None, None, None
