"""The sizes of the two-core generator; the network itself is in `dct_mlp_network`, which imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privimage.errors import InputError
from privimage.generators import Shape
from privimage.generators.config import COEFFICIENTS, NoiseLevels
from privimage.generators.sizes import Make

if TYPE_CHECKING:
    from privimage.generators.diffusion import Diffusion


# Five or six deviations of the widest coefficient at first, and a sixth or a quarter of one at last: less noise than
# that an MLP does not tell from detail (docs/means.md).
GREY = NoiseLevels(sigma_max=20.0, sigma_min=0.6, rho=5.0)
COLOUR = NoiseLevels(sigma_max=60.0, sigma_min=2.5, rho=5.0)


@dataclass(frozen=True, kw_only=True)
class DctMlpSize:
    """Width and number of residual blocks."""

    width: int
    blocks: int = 3
    varies = True  # its generators vary images: see `sizes.varies`
    attends = True  # a part of its network can be trained alone: see `sizes.attends`
    taught_by_means = True  # see `sizes.taught_by_means`

    def check(self, shape: Shape) -> None:
        """Raise InputError for small images. Free of torch."""
        if min(shape[1:]) < COEFFICIENTS:
            raise InputError(f"a dct-mlp needs at least {COEFFICIENTS} pixels a side")

    def levels(self, shape: Shape) -> NoiseLevels:
        """Of the sampler that suits images of that shape."""
        return GREY if shape[0] == 1 else COLOUR

    def __call__(self, shape: Shape, n_classes: int) -> Diffusion:
        """The generator of this size. Raises InputError as `check` does."""
        from privimage.generators.codec import DctCodec, values_of  # here, as they import torch
        from privimage.generators.dct_mlp_network import DctMLP
        from privimage.generators.diffusion import Diffusion
        from privimage.generators.edm import EDM

        self.check(shape)
        F = DctMLP(size=values_of(shape[0]), n_classes=n_classes, width=self.width, blocks=self.blocks)
        edm = EDM(sigma_data=1.0, P_mean=0.3, P_std=1.1)  # where shapes are decided: docs/means.md
        return Diffusion(
            F=F, codec=DctCodec(shape=shape), edm=edm, shape=shape, n_classes=n_classes, levels=self.levels(shape)
        )


MEMBERS: dict[str, Make] = {"dct-mlp-192": DctMlpSize(width=192), "dct-mlp-512": DctMlpSize(width=512)}
