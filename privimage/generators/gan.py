"""The sizes of GANs: those of PrivImage's Table 6, and small ones for two cores; the networks are in `gan_network`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from privimage.errors import InputError
from privimage.generators import Shape
from privimage.generators.sizes import Make

if TYPE_CHECKING:
    from privimage.generators.adversarial import Adversarial


@dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """Channels of the blocks of a network, and pixels a side of a patch; see `gan_network`."""

    widths: tuple[int, ...]
    patch: int = 1


@dataclass(frozen=True, kw_only=True)
class GanSize:
    """Both networks, noise values and values of a label of the generator, and what is special in one of them.

    With `codes`, the generator is kept from making one image of a label: see `adversarial`.
    """

    generator: NetworkSize
    discriminator: NetworkSize
    halving: int  # blocks of the discriminator that halve the side
    z: int = 80
    label: int = 128
    attend: int | None = None  # the block of the generator behind which it attends
    whole: bool = False
    head: int | None = None
    codes: int = 0  # kinds of images of a label, at most z

    adversarial: ClassVar[bool] = True
    attends: ClassVar[bool] = True  # of its discriminator what judges can be trained alone: see `sizes.attends`

    def check(self, shape: Shape) -> None:
        """Raise InputError for images whose sides do not halve. Free of torch."""
        up = self.generator.patch * 2 ** (len(self.generator.widths) - 1)
        factor = math.lcm(up, self.discriminator.patch * 2**self.halving)
        if any(side < factor or side % factor for side in shape[1:]):
            raise InputError(f"this GAN needs sides that are multiples of {factor}")

    def __call__(self, shape: Shape, n_classes: int) -> Adversarial:
        """The GAN of this size, in pixels. Raises InputError as `check` does."""
        from privimage.generators.adversarial import Adversarial  # here, as they import torch
        from privimage.generators.gan_network import Discriminate, Generate

        self.check(shape)
        F = Discriminate(
            **asdict(self.discriminator), shape=shape, n_classes=n_classes, halving=self.halving, head=self.head
        )
        G = Generate(
            **asdict(self.generator), shape=shape, n_classes=n_classes, z=self.z, label=self.label,
            attend=self.attend, whole=self.whole, codes=self.codes,
        )  # fmt: skip
        return Adversarial(F=F, G=G, shape=shape, n_classes=n_classes)


SMALL = GanSize(
    generator=NetworkSize(widths=(64, 32), patch=2),
    discriminator=NetworkSize(widths=(64,), patch=4),
    halving=0, z=64, label=32, whole=True, head=128, codes=32,
)  # fmt: skip

# The paper's are named by the parameters of the generator, for 32 and for 64 pixels in colour (discriminators of 2.37M
# and 19.6M). The others are ours, for two cores and 28 or 32 pixels: of the generator 0.3M, the discriminator 0.5M.
MEMBERS: dict[str, Make] = {
    "gan-9.42m": GanSize(
        generator=NetworkSize(widths=(384,) * 4), discriminator=NetworkSize(widths=(192,) * 4), halving=2, attend=2
    ),
    "gan-11.3m": GanSize(
        generator=NetworkSize(widths=(1024, 512, 256, 128, 64)),
        discriminator=NetworkSize(widths=(64, 128, 256, 512, 1024)),
        halving=4,
        attend=2,
    ),
    "gan-s": SMALL,
    "gan-s-10": replace(SMALL, codes=10),  # few noisy steps from scratch do not learn more kinds
    "gan-xs": GanSize(
        generator=NetworkSize(widths=(32, 16), patch=2),
        discriminator=NetworkSize(widths=(32,), patch=4),
        halving=0, z=32, label=16, whole=True, head=64, codes=10,
    ),
}  # fmt: skip
