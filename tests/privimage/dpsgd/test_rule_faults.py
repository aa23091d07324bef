"""A fault is planted in every rule, one at a time: the check of the clipped sum must see each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_networks import Shape, check, draws_of, net, run
from torch import Tensor, nn

from privimage.dpsgd import layers
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.rules import conv2d, embedding, fastest, group_norm, linear, rule
from privimage.dpsgd.rules.conv2d_kernels import KERNELS, Geometry
from privimage.dpsgd.rules.rule import BatchPlan

Patch = pytest.MonkeyPatch


def the_bias_of_a_convolution_is_forgotten(patch: Patch) -> None:
    real = conv2d.trained
    patch.setattr(conv2d, "trained", lambda layer, name: None if name == "bias" else real(layer, name))


def the_norm_of_a_convolution_bias_is_forgotten(patch: Patch) -> None:
    real = conv2d.kept
    patch.setattr(conv2d, "kept", lambda parts: without_norm(real(parts)) if parts[0][0].dim() == 1 else real(parts))


def without_norm(summary: rule.Summary) -> rule.Summary:
    return replace(summary, squared=torch.zeros_like(summary.squared))


def draws_of_a_convolution_are_orthogonal(patch: Patch) -> None:
    real = conv2d.kept

    def kept(parts: list[tuple[nn.Parameter, Tensor]]) -> rule.Summary:
        summary = real(parts)
        return replace(summary, squared=summary.squared / 3) if parts[0][0].dim() == 4 else summary

    patch.setattr(conv2d, "kept", kept)


def only_the_first_draw_of_a_convolution(patch: Patch) -> None:
    def grouped(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
        return real(x[:n], len(x) // n * gy[:n], geometry, n)

    real = KERNELS["grouped"]
    patch.setitem(KERNELS, "grouped", grouped)
    patch.setattr(fastest, "choose", lambda *args: "grouped")


def one_padding_pixel_is_dropped(patch: Patch) -> None:
    real = KERNELS["grouped"]

    def grouped(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
        gy = gy.clone()
        gy[..., 0, 0] = 0  # where the window reaches over the corner
        return real(x, gy, geometry, n)

    patch.setitem(KERNELS, "grouped", grouped)
    patch.setattr(fastest, "choose", lambda *args: "grouped")


def one_call_of_two_is_forgotten(patch: Patch) -> None:
    real = conv2d.Conv2dRule.summary
    patch.setattr(
        conv2d.Conv2dRule, "summary", lambda self, layer, uses, plan: real(self, layer, uses[:1] * len(uses), plan)
    )


def the_norm_of_the_scale_is_missing(patch: Patch) -> None:
    real = group_norm.kept
    patch.setattr(group_norm, "kept", lambda parts: replace(real(parts), squared=real(parts[1:]).squared))


def the_scale_is_not_normalised(patch: Patch) -> None:
    real = group_norm.GroupNormRule.backward

    def backward(self: Any, layer: Any, saved: Any, gy: Tensor, *, needs_x: bool) -> Any:
        gx, (_, gshift) = real(self, layer, saved, gy, needs_x=needs_x)
        return gx, ((gy * saved[0]).flatten(2).sum(2), gshift)

    patch.setattr(group_norm.GroupNormRule, "backward", backward)


def rows_of_an_embedding_are_overwritten(patch: Patch) -> None:
    class Overwriting:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def zeros_like(self, weight: Tensor) -> Any:
            zeros = torch.zeros_like(weight)

            class Rows:
                def index_add_(self, dim: int, index: Tensor, source: Tensor) -> Tensor:
                    return zeros.index_copy_(dim, index, source)

            return Rows()

    patch.setattr(embedding, "torch", Overwriting())


def the_norm_of_an_embedding_is_per_draw(patch: Patch) -> None:
    real = embedding.EmbeddingRule.summary

    def summary(self: Any, layer: nn.Embedding, uses: list[rule.Use], plan: BatchPlan) -> rule.Summary:
        one = real(self, layer, uses, plan)
        per_draw = torch.stack([g.double().square().sum(1) for _, g in uses]).sum(0)
        return replace(one, squared=plan.over_draws(per_draw))

    patch.setattr(embedding.EmbeddingRule, "summary", summary)


def draws_of_a_linear_layer_are_orthogonal(patch: Patch) -> None:
    patch.setattr(linear, "gram_total", lambda x, g: (x.square().sum(2) * g.square().sum(2)).sum(1).double())


def the_bias_of_a_linear_layer_is_forgotten(patch: Patch) -> None:
    real = linear.trained
    patch.setattr(linear, "trained", lambda layer, name: None if name == "bias" else real(layer, name))


def norms_of_linear_layers_are_too_small(patch: Patch) -> None:
    real = linear.gram_total
    patch.setattr(linear, "gram_total", lambda x, g: 0.9 * real(x, g))


FAULTS = [
    the_bias_of_a_convolution_is_forgotten,
    the_norm_of_a_convolution_bias_is_forgotten,
    draws_of_a_convolution_are_orthogonal,
    only_the_first_draw_of_a_convolution,
    one_padding_pixel_is_dropped,
    one_call_of_two_is_forgotten,
    the_norm_of_the_scale_is_missing,
    the_scale_is_not_normalised,
    rows_of_an_embedding_are_overwritten,
    the_norm_of_an_embedding_is_per_draw,
    draws_of_a_linear_layer_are_orthogonal,
    the_bias_of_a_linear_layer_is_forgotten,
    norms_of_linear_layers_are_too_small,
]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
@pytest.mark.thorough
def test_the_check_sees_a_fault_in_a_rule(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    def make() -> tuple[nn.Module, Batch]:
        return net(Shape(twice=True)), draws_of(5, 3)

    check(*make())
    fault(monkeypatch)
    monkeypatch.setattr(layers, "verify", lambda *args, **rest: None)  # the check alone must see it
    with pytest.raises(AssertionError):
        check(*make())


def test_a_fault_in_a_sum_is_refused_before_it_meets_images(monkeypatch: Patch) -> None:
    the_bias_of_a_convolution_is_forgotten(monkeypatch)
    with pytest.raises(ValueError, match=r"does not see every use of 'conv\.bias'"):
        run(layers.add_clipped_sum, net(Shape()), draws_of(2, 1), 1.0)
