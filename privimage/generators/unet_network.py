"""The paper's denoiser F_theta: an NCSN++ UNet, sized to the parameter counts of PrivImage, Table 5.

B batch, C channels, H W height and width (S where equal), P = H * W positions of attention,
D = 4 * width, the embedding of noise level and label.

Song et al. 2021 (NCSN++, DDPM++ side): two BigGAN residual blocks a level, resampling inside a block by
average and nearest (no FIR), sums rescaled by 1/sqrt(2), GroupNorm and SiLU. The published counts settle
which layers exist: on the way down attention follows each residual block of a listed level, on the way up
only the last; the label row is as wide as the positional embedding and is added to it before the MLP.

For per-example gradients (vmap, Opacus hooks): only Conv2d, Linear, GroupNorm, Embedding hold parameters,
none is shared or skipped, nothing is in place, and every Conv2d
gets contiguous NCHW input, because Opacus misreads any other (unless `layout` says otherwise).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privimage.generators.unet_limits import check_sizes

BLOCKS = 2  # residual blocks a level; one more on the way up, for the level's input
RESCALE = 1 / math.sqrt(2)  # keeps the variance of a sum of two branches

Resample = Literal["keep", "down", "up"]


class UNet(nn.Module):
    """F_theta(z[B,C,H,W]; c_noise[B], label[B]) -> [B,C,H,W]. Song et al. 2021; PrivImage, Table 5."""

    def __init__(
        self,
        *,
        channels: int,  # C of the image
        image_size: int,  # H = W, a multiple of 2 ** (levels - 1)
        n_classes: int,  # labels 0 .. n_classes-1; label n_classes means "no label"
        width: int,  # channels at multiplier 1, even
        multipliers: tuple[int, ...],  # one a level, finest level first
        attention: tuple[int, ...],  # resolutions, see `attention_levels`
    ) -> None:
        super().__init__()
        check_sizes(channels, image_size, n_classes, width, multipliers, attention)
        self.layout = torch.contiguous_format  # of images in memory, from the first layer on
        self.embed = Embed(n_classes, width)
        self.conv_in = _conv(channels, width)
        D, wide = 4 * width, [width * multiplier for multiplier in multipliers]  # channels of each level
        attending = attention_levels(image_size, len(wide), attention)
        self.down, skips = _down(width, wide, D, attending)
        self.mid = nn.ModuleList([Block(wide[-1], wide[-1], D, attend=True), Block(wide[-1], wide[-1], D)])
        self.up = _up(skips, wide, D, attending)
        self.norm_out = _norm(wide[0])
        self.conv_out = _conv(wide[0], channels, gain=0)

    def conditioning(self) -> list[nn.Module]:
        """See Attending."""
        return [self.embed.label]

    def attending(self) -> list[nn.Module]:
        """Attention, and the layers that carry the embedding of noise level and label into each block."""
        blocks = [block for block in self.modules() if isinstance(block, Block)]
        return [block.dense for block in blocks] + [m for m in self.modules() if isinstance(m, Attention)]

    def forward(self, z: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        """F_x [B,C,H,W] from z = c_in * x [B,C,H,W], c_noise [B], int64 label [B]. Zero when untrained."""
        e: Tensor = self.embed(c_noise, label)
        h: Tensor = self.conv_in(z.contiguous(memory_format=self.layout))
        h = h.contiguous(memory_format=self.layout)  # as z of C = 1 is in both layouts
        skips = [h]
        for block in self.down:
            h = block(h, e)
            skips.append(h)
        for block in self.mid:
            h = block(h, e)
        for block in self.up:
            h = block(h if block.resample == "up" else torch.cat((h, skips.pop()), 1), e)
        F_x: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return F_x


def _down(h: int, wide: list[int], D: int, attending: frozenset[int]) -> tuple[nn.ModuleList, list[int]]:
    """Blocks from the finest level to the coarsest; channels of every skip, that of conv_in (h) first."""
    blocks, skips = nn.ModuleList(), [h]
    for level, C in enumerate(wide):
        if level > 0:
            blocks.append(Block(h, h, D, "down"))
            skips.append(h)
        for _ in range(BLOCKS):
            blocks.append(Block(h, C, D, attend=level in attending))
            h = C
            skips.append(h)
    return blocks, skips


def _up(skips: list[int], wide: list[int], D: int, attending: frozenset[int]) -> nn.ModuleList:
    """Blocks from the coarsest level to the finest; each but the resampling ones takes the last skip left."""
    blocks, h, left = nn.ModuleList(), wide[-1], list(skips)
    for level in reversed(range(len(wide))):
        for i in range(BLOCKS + 1):
            blocks.append(Block(h + left.pop(), wide[level], D, attend=level in attending and i == BLOCKS))
            h = wide[level]
        if level > 0:
            blocks.append(Block(h, h, D, "up"))
    return blocks


class Embed(nn.Module):
    """Embedding [B,D] of noise level and label, D = 4 * width. Song et al. 2021; PrivImage (label)."""

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.label = nn.Embedding(n_classes + 1, width)
        self.dense0 = _dense(width, 4 * width)
        self.dense1 = _dense(4 * width, 4 * width)

    def forward(self, c_noise: Tensor, label: Tensor) -> Tensor:
        """SiLU'd embedding [B,D] from c_noise [B] and label [B]: each block applies its own Linear to it."""
        e = positional(c_noise, self.width) + self.label(label)
        return F.silu(self.dense1(F.silu(self.dense0(e))))


class Block(nn.Module):
    """[B,C_in,S,S] -> [B,C_out,S',S']: BigGAN residual block, then attention if asked. Song et al. 2021."""

    def __init__(self, C_in: int, C_out: int, D: int, resample: Resample = "keep", *, attend: bool = False) -> None:
        super().__init__()
        self.resample: Resample = resample
        self.norm0, self.conv0 = _norm(C_in), _conv(C_in, C_out)
        self.dense = _dense(D, C_out)
        self.norm1, self.conv1 = _norm(C_out), _conv(C_out, C_out, gain=0)
        self.skip = nn.Identity() if C_in == C_out and resample == "keep" else _conv(C_in, C_out, kernel=1)
        self.attention = Attention(C_out) if attend else nn.Identity()

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Block output [B,C_out,S',S'] from x [B,C_in,S,S] and embedding e [B,D]; S' is S, S/2 or 2S."""
        h = _resample(F.silu(self.norm0(x)), self.resample)
        h = self.conv0(h) + self.dense(e)[:, :, None, None]
        h = self.conv1(F.silu(self.norm1(h)))
        h = (self.skip(_resample(x, self.resample)) + h) * RESCALE
        out: Tensor = self.attention(h)
        return out


class Attention(nn.Module):
    """[B,C,H,W] -> [B,C,H,W]: self-attention (one head) over positions, with a residual. Song et al. 2021."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.norm = _norm(C)
        self.q, self.k, self.v = (_conv(C, C, kernel=1, gain=math.sqrt(0.1)) for _ in range(3))
        self.out = _conv(C, C, kernel=1, gain=0)

    def forward(self, x: Tensor) -> Tensor:
        """(x + attended values) / sqrt(2), [B,C,H,W], from x [B,C,H,W]."""
        h = self.norm(x)
        q, k, v = self.q(h).flatten(2), self.k(h).flatten(2), self.v(h).flatten(2)  # [B,C,P]
        weight = (k.transpose(1, 2) @ q / math.sqrt(x.shape[1])).softmax(1)  # [B,P,P], key by query
        h = (v @ weight).reshape(x.shape).contiguous()  # keys are contracted: [B,C,P], never [B,P,C]
        out: Tensor = (x + self.out(h)) * RESCALE
        return out


def positional(c_noise: Tensor, width: int) -> Tensor:
    """Sines then cosines [B,width] of c_noise [B], frequencies 1 to 1e-4. Vaswani et al. 2017."""
    half = width // 2
    steps = torch.arange(half, device=c_noise.device, dtype=c_noise.dtype)
    angle = c_noise[:, None] * torch.exp(-math.log(1e4) / (half - 1) * steps)
    return torch.cat((angle.sin(), angle.cos()), 1)


def attention_levels(image_size: int, levels: int, attention: tuple[int, ...]) -> frozenset[int]:
    """Levels (0 = finest) that attend: for each resolution, the level nearest in ratio, the smaller on a tie.

    Resolutions are those of 32 and 64 pixels, where nearest is equal; at 28 pixels 16 means 14 and 8 means 7.

    >>> sorted(attention_levels(32, 3, (8, 16))), sorted(attention_levels(28, 3, (16,)))
    ([1, 2], [1])
    """
    sizes = [image_size >> level for level in range(levels)]
    nearest = (min(sizes, key=lambda size: (max(size / r, r / size), size)) for r in attention)
    return frozenset(sizes.index(size) for size in nearest)


def _resample(x: Tensor, how: Resample) -> Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest") if how == "up" else x


def _norm(C: int) -> nn.GroupNorm:
    """GroupNorm of min(C/4, 32) groups, or the next fewer that divide C."""
    most = max(1, min(C // 4, 32))
    return nn.GroupNorm(next(g for g in range(most, 0, -1) if C % g == 0), C, eps=1e-6)


def _conv(C_in: int, C_out: int, kernel: int = 3, gain: float = 1) -> nn.Conv2d:
    """Same-size convolution, weights uniform with variance gain^2 * 2 / (fan in + fan out), zero bias."""
    conv = nn.Conv2d(C_in, C_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight, gain=gain)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _dense(C_in: int, C_out: int) -> nn.Linear:
    dense = nn.Linear(C_in, C_out)
    nn.init.xavier_uniform_(dense.weight)
    nn.init.zeros_(dense.bias)
    return dense
