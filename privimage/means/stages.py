"""The noisy means as stages: the pool once per public set, the question once per sensitive set, the choice for free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privimage import exhibit
from privimage.data.pool import PoolConfig
from privimage.data.views import Views
from privimage.errors import InputError, LostAnswer
from privimage.histogram import query_function
from privimage.means import answer
from privimage.means.answer import UNIT, Means, estimate
from privimage.means.config import BLOCK, FIRST_DIRECTIONS, MOST_DIRECTIONS, MeansConfig
from privimage.means.embedding import Embedding, Vectors, Whitening, whiten
from privimage.means.features import Extract, extractor, filled
from privimage.means.posterior import posterior
from privimage.means.prior import Prior
from privimage.means.tilt import tilt
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.query import QueryConfig
from privimage.shared_answer import shared_answer
from privimage.stores.store import Built

if TYPE_CHECKING:
    from privimage.methods.context import Context

PROBED = 20  # public images by which a network is known again
MISSED = 0.6  # of the standard deviation of what is known of a mean: how far a tilt may miss it
LEAST_WEIGHT = 1e-4  # of the largest of a label: what weighs less is left out


@dataclass(frozen=True, kw_only=True)
class Tilted:
    """The chosen public images: places `index` in the views, the `label` each is for, `weight`s that sum to 1."""

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]


class Pool:
    """The views of the public images, and what is seen in them."""

    def __init__(self, config: MeansConfig, pool: PoolConfig, query: QueryConfig, context: Context) -> None:
        self.context, self.query = context, query
        self.network, self.config = config.seen_by(context.public.shape[0]), config
        self.views = Views.of(context.public, pool)
        arrays = context.stages.public("pool", context.inputs.of("pool"), self._build).arrays
        kinds = range(len(MOST_DIRECTIONS))
        self.whitenings = tuple(Whitening(m=arrays[f"m{i}"], A=arrays[f"A{i}"]) for i in kinds)
        self.z, self.probe = (tuple(arrays[f"{name}{i}"] for i in kinds) for name in ("z", "probe"))

    def _build(self, progress: Tell) -> Built:
        """Whitened on variations where there are some: what a variation changes should not count."""
        seen: list[tuple[Vectors, Vectors]] = []
        see = self.extractor
        for x, real in filled(self.views.each_block(BLOCK)):
            first, second = see(x)
            seen.append((first[:real], second[:real]))
            progress(sum(len(first) for first, _ in seen), len(self.views))
        n, y = len(self.views.public), self.views.public.y
        arrays = dict[str, NDArray[np.float32]]()
        for i, d in enumerate(MOST_DIRECTIONS):
            f = np.concatenate([features[i] for features in seen])
            varied, labels = (f[n:], np.tile(y, self.views.count - 1)) if self.views.count > 1 else (f, y)
            w = whiten(varied, labels, d=d)
            arrays |= {f"m{i}": w.m, f"A{i}": w.A, f"z{i}": w(f), f"probe{i}": f[:PROBED]}
        return Built(arrays=arrays, privacy="public")

    @cached_property
    def extractor(self) -> Extract:
        """What sees features in images."""
        context, function = self.context, None
        if self.network == "query":
            function = query_function(context.public, query=self.query, inputs=context.inputs, stages=context.stages)
        return extractor(function, device=context.stages.workers.device)

    def seeing(self, embedding: Embedding) -> Extract:
        """What sees features in images, if it is what this embedding was fitted on. Raises LostAnswer if it is not."""
        public = self.views.public
        if not embedding.sees(self.extractor(public.rows(np.arange(min(PROBED, len(public)))))):
            raise LostAnswer(
                "means: the query function that they were, or would be, asked with is gone, and this one sees "
                "something else in public images; restore query-function and pool from a backup of the store"
            )
        return self.extractor

    def phi(self, embedding: Embedding) -> Vectors:
        """phi of all views by this embedding: that of an answer may have been fitted on another machine."""
        own = zip(self.whitenings, embedding.whitenings, strict=True)
        if all(np.array_equal(w.A, other.A) for w, other in own):
            return embedding.of(self.z)
        see = self.seeing(embedding)
        blocks = (embedding(see(x))[:real] for x, real in filled(self.views.each_block(BLOCK)))
        return np.concatenate(list(blocks))


def noisy_means(pool: Pool, context: Context) -> tuple[Means, Embedding]:
    """What the answer at the trial's own noise tells, and the embedding that it was asked in."""
    train = context.sensitive.train
    fitted = Embedding.fit(pool.whitenings, pool.z, first=FIRST_DIRECTIONS, probe=pool.probe)
    if min(min(C) for C in fitted.C) <= 0:
        raise InputError(
            "data.public: the images of a class do not differ, so nothing tells how much of a difference is one; give "
            "more images a class, or method.pool.views above 1"
        )

    see = pool.seeing(fitted)  # or refused, before anything is charged

    def ask(event: Event, entropy: Entropy) -> Release[NDArray[np.float64]]:
        return answer.ask(lambda x: fitted(see(x)), train, d=fitted.d, event=event, entropy=entropy)

    found = shared_answer("means", context, sensitivity=UNIT, ask=ask, beside=lambda: fitted.arrays)
    means = estimate(found["means"], sigma=context.events["means"].sigma, n=len(train))
    return means, Embedding.from_arrays(found)


def tilted(pool: Pool, context: Context, *, base: Callable[[int], NDArray[np.float64]] | None = None) -> Tilted:
    """The public images that meet the noisy means: computed or found. `base` takes a label to what it begins with."""
    means, embedding = noisy_means(pool, context)

    def build(progress: Tell) -> Built:
        phi, labels, parts = pool.phi(embedding), len(means.M), []
        prior = Prior.of(phi, np.tile(pool.views.public.y, pool.views.count))
        told = posterior(means, prior, resembling=pool.config.resembling)
        begun = told.near(phi, distinct=pool.config.distinct, base=base)
        for y, (mu, v, near) in enumerate(zip(told.mu, told.v, begun, strict=True)):
            weights = tilt(phi, mu, noise=MISSED * float(v.mean() ** 0.5), base=near)
            index = np.flatnonzero(weights > LEAST_WEIGHT * weights.max())
            parts.append((index, np.full(len(index), y), weights[index] / weights[index].sum() / labels))
            progress(y + 1, labels)
        index, label, weight = map(np.concatenate, zip(*parts, strict=True))
        own = tuple(event for event in context.paid if event.shared is not None)
        shown = exhibit.arrays_of_tilted(index, label, weight, pool.views)
        names = exhibit.names_of_tilted(shown["classes"], pool.views, context.sensitive.train.classes)
        arrays = {"index": index, "label": label, "weight": weight, **shown}
        return Built(arrays=arrays, privacy="released", events=own, meta=names)

    arrays = context.stages.public("tilted", context.inputs.of("tilted"), build).arrays
    return Tilted(index=arrays["index"], label=arrays["label"], weight=arrays["weight"])
