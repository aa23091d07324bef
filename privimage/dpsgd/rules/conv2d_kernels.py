"""Per-example weight gradients of a convolution, in several ways that agree: none is fastest for every shape.

x [n*K, I, H, W] input and gy [n*K, O, H', W'] output gradient, any strides in memory; the K draws of an example are
consecutive. Every kernel returns G [n, O, I, kh, kw].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd.rules.rule import gram_total


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Weight shape [O, I, kh, kw], stride and padding of a dense convolution."""

    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    @staticmethod
    def of(layer: nn.Conv2d) -> Geometry:
        """The geometry of the layer. Padding "valid" is 0."""
        padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
        return Geometry(weight=tuple(layer.weight.shape), stride=layer.stride, padding=padding)

    @property
    def pointwise(self) -> bool:
        """Whether every output pixel sees one input pixel, its own."""
        return self.weight[2:] == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)


def _backward(
    x: Tensor, gy: Tensor, weight: Tensor, geometry: Geometry, mask: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        gy, x, weight, None, geometry.stride, geometry.padding, (1, 1), False, (0, 0), 1, mask
    )


def input_gradient(x: Tensor, gy: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of x, of every row at once."""
    return _backward(x, gy, weight, geometry, [True, False, False])[0]


def weight_gradient(x: Tensor, gy: Tensor, geometry: Geometry) -> Tensor:
    """The ordinary weight gradient [O, I, kh, kw], the sum over rows."""
    return _backward(x, gy, gy.new_empty(geometry.weight), geometry, [False, True, False])[1]


def native(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """One native weight gradient an example: no operation more than the ordinary gradient, n calls."""
    weight, K = gy.new_empty(geometry.weight), len(x) // n
    G = gy.new_empty(n, *geometry.weight)
    for example, xs, gs in zip(G, x.split(K), gy.split(K), strict=True):
        example.copy_(_backward(xs, gs, weight, geometry, [False, True, False])[1])
    return G


def columns(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """Columns of input windows (im2col), then one batched product a draw."""
    xs, gs = x.unflatten(0, (n, -1)), gy.flatten(2).unflatten(0, (n, -1))
    G = torch.bmm(gs[:, 0], _columns(xs[:, 0], geometry).transpose(1, 2))
    for k in range(1, xs.shape[1]):
        G.baddbmm_(gs[:, k], _columns(xs[:, k], geometry).transpose(1, 2))
    return G.view(n, *geometry.weight)


def _columns(x: Tensor, geometry: Geometry) -> Tensor:
    """Input windows [B, I*kh*kw, positions]."""
    if geometry.pointwise:
        return x.flatten(2)
    return functional.unfold(x, geometry.weight[2:], padding=geometry.padding, stride=geometry.stride)


def shifted(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """A batched product for each of the kh*kw shifts, on views of one padded copy, draws folded into its depth.

    Stride 1 only. Rows of both copies are as wide as the padded input, so that a shift by (i, j) is a shift of the
    flat pixel index; where it runs over the edge, it meets zeros of the padded output gradient.
    """
    outputs, inputs, kh, kw = geometry.weight
    (rows, H, W), (up, left) = (len(x), *x.shape[2:]), geometry.padding
    high, wide = H + 2 * up, W + 2 * left
    K, over = rows // n, (kh - 1) * wide + kw - 1
    a = x.new_zeros(n, K * high * wide + over, inputs)
    inside = a[:, : K * high * wide].view(n, K, high, wide, inputs)
    inside[:, :, up : up + H, left : left + W] = x.permute(0, 2, 3, 1).unflatten(0, (n, K))
    b = gy.new_zeros(n, K, high, wide, outputs)
    b[:, :, : gy.shape[2], : gy.shape[3]] = gy.permute(0, 2, 3, 1).unflatten(0, (n, K))
    b = b.view(n, -1, outputs).transpose(1, 2)
    G = gy.new_empty(n, outputs, inputs, kh, kw)
    for i in range(kh):
        for j in range(kw):
            start = i * wide + j
            G[..., i, j] = torch.bmm(b, a[:, start : start + b.shape[2]])
    return G


def gram_norms(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """Squared norms [n] alone, float64, never under-estimated: Gram matrices over draws and positions."""
    a = _columns(x, geometry).unflatten(0, (n, -1)).transpose(2, 3).flatten(1, 2)
    b = gy.flatten(2).unflatten(0, (n, -1)).transpose(2, 3).flatten(1, 2)
    return gram_total(a, b)


Kernel = Callable[[Tensor, Tensor, Geometry, int], Tensor]
KERNELS: dict[str, Kernel] = {"native": native, "columns": columns, "shifted": shifted}
