"""Adapters: which weights of a network are fine-tuned, and layers of low rank that are trained in their place.

    y = layer(x) + up(down(x))          layer frozen, down of `rank` outputs, up 0 at first      (Hu et al. 2022)

What is frozen has no gradient of an example, no noise and no part in the clipped norm. After training, an adapter is
added to the weight of its layer: what is released has the names and shapes of the whole network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.normals import Tensors
from privimage.errors import InputError
from privimage.privacy.entropy import Entropy


@runtime_checkable
class Attending(Protocol):
    """A network of which a part can be trained alone."""

    def conditioning(self) -> list[nn.Module]:
        """The modules that take a label in."""
        ...

    def attending(self) -> list[nn.Module]:
        """The modules that carry it to the image: attention, or what stands in its place."""
        ...


class Adapted(nn.Module):
    """A frozen layer with an adapter beside it."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, *, rank: int, rng: Tensors) -> None:
        super().__init__()
        self.layer = layer
        self.down: nn.Module
        self.up: nn.Module
        if isinstance(layer, nn.Linear):
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        else:
            size, stride, padding = layer.kernel_size, layer.stride, layer.padding
            self.down = nn.Conv2d(layer.in_channels, rank, size, stride, padding, bias=False)  # type: ignore[arg-type]
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        with torch.no_grad():
            (down,), (up,) = self.down.parameters(), self.up.parameters()
            down.copy_(rng.normals(*down.shape) / down[0].numel() ** 0.5)
            up.zero_()
        self.to(layer.weight.device, layer.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the layer and that of the adapter."""
        y: Tensor = self.layer(x) + self.up(self.down(x))
        return y

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The layer, with the adapter in its weight."""
        (down,), (up,) = self.down.parameters(), self.up.parameters()
        self.layer.weight += (up.flatten(1) @ down.flatten(1)).view_as(self.layer.weight)
        return self.layer


@contextmanager
def trained(F: nn.Module, config: FinetuneConfig, entropy: Entropy) -> Iterator[int]:
    """How many weights are trained; while it is open only these have gradients, and F has its adapters.

    Raises InputError if F does not say what its attention is.
    """
    before = {p: p.requires_grad for p in F.parameters()}
    layers: dict[str, nn.Module] = {}
    if config.partial:
        _freeze(F, config)
        if config.rank is not None:
            layers = _adapt(F, config.rank, Tensors(entropy.stream("adapters")))
    try:
        yield sum(p.numel() for p in F.parameters() if p.requires_grad)
    finally:
        for name, layer in layers.items():
            _put(F, name, layer)
        for p, had in before.items():
            p.requires_grad_(had)


def whole(F: nn.Module) -> dict[str, Tensor]:
    """The state of the network on the CPU; its adapters go into the weights of their layers."""
    for name, layer in list(F.named_modules()):
        if isinstance(layer, Adapted):
            _put(F, name, layer.merged())
    return {name: tensor.detach().cpu() for name, tensor in F.state_dict().items()}


def _freeze(F: nn.Module, config: FinetuneConfig) -> None:
    """All but what is trained, or has an adapter in its place."""
    if not isinstance(F, Attending):
        raise InputError(
            f"method.finetune: a {type(F).__name__} does not say what of it attends to a label; leave trainable at all "
            "and rank at null"
        )
    if config.trainable == "attention":
        F.requires_grad_(False)
    for module in (*F.attending(), *F.conditioning()):
        module.requires_grad_(True)


def _adapt(F: nn.Module, rank: int, rng: Tensors) -> dict[str, nn.Module]:
    """Put adapters beside all that is trained; their layers, by name.

    What takes a label in is trained itself: of labels the public weights know nothing. So is a layer that has no more
    weights than its adapter would have. All else without an adapter is frozen.
    """
    kept = {p for module in F.conditioning() for p in module.parameters()}  # type: ignore[operator]
    found = [
        name
        for name, layer in F.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.requires_grad and layer.weight not in kept
    ]
    small = {name for name in found if _no_smaller(F.get_submodule(name).weight, rank)}  # type: ignore[arg-type]
    kept.update(p for name in small for p in F.get_submodule(name).parameters())
    for p in F.parameters():
        p.requires_grad_(p in kept)
    layers = {name: F.get_submodule(name) for name in found if name not in small}
    for name, layer in layers.items():
        _put(F, name, Adapted(layer, rank=rank, rng=rng))  # type: ignore[arg-type]
    return layers


def _no_smaller(weight: Tensor, rank: int) -> bool:
    return rank * (len(weight) + weight[0].numel()) >= weight.numel()


def _put(F: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of that name."""
    above, _, last = name.rpartition(".")
    setattr(F.get_submodule(above), last, layer)
