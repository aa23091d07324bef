"""The sizes of the paper's UNet, PrivImage, Table 5; the network itself is in `unet_network`, which imports torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from privimage.errors import InputError
from privimage.generators import Shape
from privimage.generators.sizes import Make
from privimage.generators.unet_limits import check_sizes

if TYPE_CHECKING:
    from privimage.generators.diffusion import Diffusion
    from privimage.generators.unet_network import UNet


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetSize:
    """Width, channel multiplier of each level, and attention resolutions of a UNet."""

    width: int
    multipliers: tuple[int, ...]
    attention: tuple[int, ...] = (16,)
    varies = True  # its generators vary images: see `sizes.varies`
    attends = True  # a part of its network can be trained alone: see `sizes.attends`

    def make(self, *, channels: int, image_size: int, n_classes: int) -> UNet:
        """A freshly initialised UNet of this size."""
        from privimage.generators.unet_network import UNet  # here, as it imports torch

        return UNet(channels=channels, image_size=image_size, n_classes=n_classes, **asdict(self))

    def check(self, shape: Shape) -> None:
        """Raise InputError for images that are not square, or do not halve. Free of torch."""
        if shape[1] != shape[2]:
            raise InputError("a UNet needs square images")
        check_sizes(shape[0], shape[1], 1, self.width, self.multipliers, self.attention)

    def __call__(self, shape: Shape, n_classes: int) -> Diffusion:
        """The generator of this size, in pixels. Raises InputError as `check` does."""
        from privimage.generators.codec import PixelCodec  # here, as they import torch
        from privimage.generators.diffusion import Diffusion
        from privimage.generators.edm import EDM

        self.check(shape)
        F = self.make(channels=shape[0], image_size=shape[1], n_classes=n_classes)
        return Diffusion(F=F, codec=PixelCodec(), edm=EDM(), shape=shape, n_classes=n_classes)


# PrivImage, RQ3 and Table 5: for CIFAR-10; for CelebA at 32 pixels, with attention at one level more; at 64 pixels,
# with one level more. Then those of Figure 8 (MNIST), and the one of 80 million that Table 4 compares (88.6). A name
# counts the parameters for three channels and ten labels (CelebA: one label; Figure 8: one channel), as the paper does.
CELEBA = (8, 16)
MEMBERS: dict[str, Make] = {
    "unet-1.75m": UNetSize(width=32, multipliers=(1, 2, 2)),
    "unet-3.96m": UNetSize(width=32, multipliers=(1, 2, 4)),
    "unet-6.08m": UNetSize(width=32, multipliers=(1, 4, 4)),
    "unet-15.7m": UNetSize(width=96, multipliers=(1, 2, 2)),
    "unet-27.9m": UNetSize(width=128, multipliers=(1, 2, 2)),
    "unet-1.80m": UNetSize(width=32, multipliers=(1, 2, 2), attention=CELEBA),
    "unet-4.15m": UNetSize(width=32, multipliers=(1, 2, 4), attention=CELEBA),
    "unet-6.28m": UNetSize(width=32, multipliers=(1, 4, 4), attention=CELEBA),
    "unet-16.2m": UNetSize(width=96, multipliers=(1, 2, 2), attention=CELEBA),
    "unet-28.7m": UNetSize(width=128, multipliers=(1, 2, 2), attention=CELEBA),
    "unet-2.00m": UNetSize(width=32, multipliers=(1, 1, 2, 2), attention=CELEBA),
    "unet-4.35m": UNetSize(width=32, multipliers=(1, 1, 2, 4), attention=CELEBA),
    "unet-6.47m": UNetSize(width=32, multipliers=(1, 1, 4, 4), attention=CELEBA),
    "unet-17.9m": UNetSize(width=96, multipliers=(1, 1, 2, 2), attention=CELEBA),
    "unet-31.8m": UNetSize(width=128, multipliers=(1, 1, 2, 2), attention=CELEBA),
    "unet-6.99m": UNetSize(width=64, multipliers=(1, 2, 2)),
    "unet-62.7m": UNetSize(width=192, multipliers=(1, 2, 2)),
    "unet-112m": UNetSize(width=256, multipliers=(1, 2, 2)),
    "unet-251m": UNetSize(width=384, multipliers=(1, 2, 2)),
    "unet-88.6m": UNetSize(width=192, multipliers=(1, 2, 2, 2)),
    # ours, for two cores: 0.11M and 0.30M
    "unet-xs": UNetSize(width=8, multipliers=(1, 2, 2)),
    "unet-s": UNetSize(width=16, multipliers=(1, 1, 2)),
}
