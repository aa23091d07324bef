"""Per-example weight gradients of a convolution, in several ways that agree: none is fastest for every shape.

x [K*n, I, H, W] input and gy [K*n, O, H', W'] output gradient, any strides in memory: the first draw of every example,
then the second, ... Every kernel returns G [n, O, I, kh, kw].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from privimage.dpsgd.rules.rule import gram_total, wide

PART = 8 * 2**20  # bytes of weight gradients in one native call on a CPU, where large results are slow to allocate
GPU_PART = 2**30  # on a GPU, where every call is a launch to wait for


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
    x: Tensor, gy: Tensor, weight: Tensor, geometry: Geometry, mask: list[bool], groups: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    if tuple(weight.shape[2:]) == (1, 1) and max(geometry.stride) > 1:
        x = x.contiguous()  # of channels_last, oneDNN writes outside its memory here (its issue 6035)
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        gy, x, weight, None, geometry.stride, geometry.padding, (1, 1), False, (0, 0), groups, mask
    )


def input_gradient(x: Tensor, gy: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of x, of every row at once."""
    return _backward(x, gy, weight, geometry, [True, False, False])[0]


def weight_gradient(x: Tensor, gy: Tensor, geometry: Geometry) -> Tensor:
    """The ordinary weight gradient [O, I, kh, kw], the sum over rows."""
    return _backward(x, gy, gy.new_empty(geometry.weight), geometry, [False, True, False])[1]


def grouped(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """One native weight gradient of a convolution with n groups, an example a group: its draws are the batch.

    No operation more than the ordinary gradient has. Done in parts.
    """
    outputs, inputs = geometry.weight[:2]
    xs, gs = (t.contiguous().view(-1, n * t.shape[1], *t.shape[2:]) for t in (x, gy))
    most = PART if gy.device.type == "cpu" else GPU_PART
    parts = -(-n * gy.element_size() * math.prod(geometry.weight) // most)
    size = -(-n // parts)
    G = gy.new_empty(n if parts > 1 else 0, *geometry.weight)
    for start in range(0, n, size):
        m = min(size, n - start)
        part_x = xs[:, start * inputs : (start + m) * inputs]
        part_g = gs[:, start * outputs : (start + m) * outputs]
        weight = gy.new_empty(m * outputs, *geometry.weight[1:])
        part = _backward(part_x, part_g, weight, geometry, [False, True, False], groups=m)[1].view(m, *geometry.weight)
        if parts == 1:
            return part
        G[start : start + m] = part
    return G


def looped(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """One native weight gradient an example: no operation more either, but n calls."""
    weight = gy.new_empty(geometry.weight)
    G = gy.new_empty(n, *geometry.weight)
    xs, gs = (t.unflatten(0, (-1, n)) for t in (x, gy))
    for i in range(n):
        G[i] = _backward(xs[:, i], gs[:, i], weight, geometry, [False, True, False])[1]
    return G


def columns(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """Columns of input windows (im2col), then one batched product a draw."""
    xs, gs = x.unflatten(0, (-1, n)), gy.flatten(2).unflatten(0, (-1, n))
    G = torch.bmm(gs[0], _columns(xs[0], geometry).transpose(1, 2))
    for k in range(1, len(xs)):
        G.baddbmm_(gs[k], _columns(xs[k], geometry).transpose(1, 2))
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
    xs, gs = (t.unflatten(0, (K, n)).permute(1, 0, 3, 4, 2) for t in (x, gy))
    a = x.new_zeros(n, K * high * wide + over, inputs)
    a[:, : K * high * wide].view(n, K, high, wide, inputs)[:, :, up : up + H, left : left + W] = xs
    b = gy.new_zeros(n, K, high, wide, outputs)
    b[:, :, : gy.shape[2], : gy.shape[3]] = gs
    b = b.view(n, -1, outputs).transpose(1, 2)
    G = gy.new_empty(n, *geometry.weight)
    for i in range(kh):
        for j in range(kw):
            start = i * wide + j
            G[..., i, j] = torch.bmm(b, a[:, start : start + b.shape[2]])
    return G


def gram_norms(x: Tensor, gy: Tensor, geometry: Geometry, n: int) -> Tensor:
    """Squared norms [n] alone, float64, never under-estimated: Gram matrices over draws and positions."""
    x, gy = (t.to(wide(t.dtype)) for t in (x, gy))
    a, b = (t.unflatten(0, (-1, n)).permute(1, 0, 3, 2).flatten(1, 2) for t in (_columns(x, geometry), gy.flatten(2)))
    return gram_total(a, b)


Kernel = Callable[[Tensor, Tensor, Geometry, int], Tensor]
KERNELS: dict[str, Kernel] = {"grouped": grouped, "looped": looped, "columns": columns, "shifted": shifted}
