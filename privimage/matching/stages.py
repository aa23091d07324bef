"""The noisy mean embedding as stages: public features once per public set, the question once per sensitive set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privimage.data.sets import PublicSet
from privimage.errors import LostAnswer
from privimage.generators import Shape
from privimage.histogram import query_function
from privimage.matching.central import LowPass
from privimage.matching.features import (
    PART,
    Fourier,
    Layers,
    Perceptual,
    Phi,
    floats,
    layers_of,
    phi_of,
)
from privimage.matching.ntk import Ntk
from privimage.matching.pearl import frequencies
from privimage.means import answer
from privimage.means.answer import ANY, Means, estimate
from privimage.means.embedding import ALIKE
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.shared_answer import shared_answer
from privimage.stores.store import Built

if TYPE_CHECKING:
    from privimage.methods.context import Context

KIND = "embedding"
UNIT = 2**20  # see means.answer: finer than there, as there are many more directions
PROBED = 20  # public images by which a network is known again
MOST_PUBLIC = 5000  # public images that the means of layers are taken of


Arrays = Mapping[str, NDArray[Any]]


def noisy_means(features: Phi, context: Context, kind: str = KIND) -> tuple[Means, Arrays]:
    """The means of these features with the noise that the trial needs, asked, found or derived; and the arrays of the
    features that they were asked of. `kind` is that of the stage."""
    train, device = context.sensitive.train, context.stages.workers.device

    def ask(event: Event, entropy: Entropy) -> Release[NDArray[np.float64]]:
        phi = partial(phi_of, features=features, device=device)
        return answer.ask(phi, train, d=features.d, event=event, entropy=entropy, unit=UNIT)

    found = shared_answer(kind, context, sensitivity=UNIT, ask=ask, beside=lambda: features.arrays)
    # Whatever counts tell of each other: so the figures of these methods were measured.
    means = estimate(found[kind], sigma=context.events[kind].sigma, n=len(train), unit=UNIT, apart=ANY)
    return means, found


def drawn(kind: str, config: Any, shape: Shape, *, device: torch.device) -> Phi:
    """The features of that kind that follow from a configuration alone."""
    match kind:
        case "ntk":
            return Ntk(Ntk.drawn(width=config.ntk.width, shape=shape), device=device)
        case "characteristic":
            return Fourier(frequencies(shape=shape, **config.characteristic.model_dump()), device=device)
    W = Fourier.drawn(features=config.fourier.features, length=config.fourier.length, shape=shape)
    return Fourier(W, device=device)


def fourier(context: Context, kind: str = "fourier") -> tuple[Means, Phi]:
    """The noisy means of random Fourier features of pixels, and these features."""
    device = context.stages.workers.device
    means, asked = noisy_means(drawn(kind, context.config, context.sensitive.train.shape, device=device), context)
    return means, Fourier(asked["frequencies"], device=device)


def ntk(context: Context) -> tuple[Means, Phi]:
    """The noisy means of gradients of a fixed network, and these features."""
    device = context.stages.workers.device
    means, asked = noisy_means(drawn("ntk", context.config, context.sensitive.train.shape, device=device), context)
    return means, Ntk(asked, device=device)


def perceptual(context: Context) -> tuple[Means, Phi]:
    """The noisy means of what a public network sees, and these features. Raises LostAnswer if it is another network."""
    config = context.config
    public, stages, device = context.public, context.stages, context.stages.workers.device
    function = None
    if config.means.seen_by(public.shape[0]) == "query":
        function = query_function(public, query=config.query, inputs=context.inputs, stages=stages)
    layers = layers_of(function, device=device)

    def build(progress: Tell) -> Built:
        with torch.no_grad():
            arrays = Perceptual.fitted(layers, list(_told(public, device, progress)), moments=config.moments)
        return Built(arrays=arrays | {"probe": probe(layers, public, device)}, privacy="public")

    fitted = stages.public("layers", context.inputs.of("layers"), build).arrays
    seen = probe(layers, public, device)
    _same(seen, fitted["probe"])  # or refused, before anything is charged
    means, asked = noisy_means(Perceptual(layers, fitted, device=device), context)
    _same(seen, asked["probe"])
    return means, Perceptual(layers, asked, device=device)


def _same(seen: NDArray[np.float32], before: NDArray[np.float32]) -> None:
    """Raise LostAnswer if what is seen in the first public images is not what was seen before, up to rounding."""
    if seen.shape != before.shape or not np.allclose(seen, before, rtol=0, atol=ALIKE * np.abs(before).max()):
        raise LostAnswer(
            "embedding: the query function that it was, or would be, asked with is gone, and this one sees something "
            "else in public images; restore query-function and layers from a backup of the store"
        )


def _told(public: PublicSet, device: torch.device, progress: Tell) -> Iterator[Tensor]:
    """Public images from all over the set, in parts."""
    few = np.unique(np.linspace(0, len(public) - 1, min(MOST_PUBLIC, len(public))).astype(np.int64))
    for start in range(0, len(few), PART):
        yield floats(public.rows(few[start : start + PART]), device=device)
        progress(min(start + PART, len(few)), len(few))


def probe(layers: Layers, public: PublicSet, device: torch.device) -> NDArray[np.float32]:
    """What the last layer sees in the first public images, by which a network is known again."""
    with torch.no_grad():
        first = floats(public.rows(np.arange(min(PROBED, len(public)))), device=device)
        found: NDArray[np.float32] = layers(first)[-1].cpu().numpy()
    return found


def central(context: Context) -> NDArray[np.uint8]:
    """The central images of the labels [labels, C, H, W]."""
    config, train, device = context.config.central, context.sensitive.train, context.stages.workers.device
    features = LowPass(shape=train.shape, clip=config.clip, device=device)
    return features.images(noisy_means(features, context, "central")[0])


ASK: dict[str, Callable[[Context], tuple[Means, Phi]]] = {  # by the features: their noisy means, asked or found
    "fourier": fourier,
    "perceptual": perceptual,
    "ntk": ntk,
    "characteristic": partial(fourier, kind="characteristic"),
}
