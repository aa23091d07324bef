"""The sizes of generators that draw in one step; the network itself is in `implicit_network`, which imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privimage.generators import Shape
from privimage.generators.sizes import Make

if TYPE_CHECKING:
    from privimage.generators.implicit_network import Implicit


@dataclass(frozen=True, kw_only=True)
class ImplicitSize:
    """Width and number of residual blocks."""

    width: int
    blocks: int = 3
    one_step = True  # its images are a differentiable function of noise and label: see `sizes.one_step`

    def check(self, shape: Shape) -> None:
        """Images of any shape will do. Free of torch."""

    def __call__(self, shape: Shape, n_classes: int) -> Implicit:
        """The generator of this size."""
        from privimage.generators.implicit_network import Implicit  # here, as it imports torch

        return Implicit(shape=shape, n_classes=n_classes, width=self.width, blocks=self.blocks)


MEMBERS: dict[str, Make] = {"implicit-128": ImplicitSize(width=128), "implicit-512": ImplicitSize(width=512)}
