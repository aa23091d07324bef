"""The noisy histogram as stages: the query function once per public set, the query once per sensitive set.

A sweep asks at the smallest sigma_s it needs; every larger sigma_s is derived from that answer by adding noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privimage import semantics
from privimage.data.sets import PrivateSet, PublicSet
from privimage.methods.declared import Declaration, Inputs, World, fields_of
from privimage.methods.presets import QUERY
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.schema import digest
from privimage.semantics import QueryConfig, QueryFunction
from privimage.stages import Stages
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state


def question_of(identity: Mapping[Any, Any], query: QueryConfig) -> str:
    """Digest of the question: the same at whatever noise it is asked."""
    fields = {f"query.{name}": value for name, value in fields_of(query).items()}
    world: dict[World, Any] = {"public": identity["public"], "sensitive": identity["sensitive"], "asked": None}
    return digest(Inputs(declaration=Declaration(stages=QUERY), fields=fields, world=world).of("histogram"))


def query_event(sigma: float, question: str | None) -> Event:
    """The query, which all trials share, at this noise multiplier; without `question` where only the price counts."""
    return Event(purpose="query", sigma=sigma, split="train", shared=question)


def query_function(
    public: PublicSet, *, query: QueryConfig, inputs: Inputs, stages: Stages, alone: bool = False
) -> QueryFunction:
    """The query function, trained on the public set if no one has before. With `alone` for the first worker only."""
    device = stages.workers.device

    def build(progress: Callable[[int, int], None]) -> Built:
        state = semantics.train_query_function(public, config=query.function, seed=0, device=device, progress=progress)
        return Built(arrays=numpy_state(state), privacy="public")

    run = stages.alone if alone else stages.public
    arrays = run("query-function", inputs.of("query-function"), build).arrays
    n_classes = len(public.classes)
    return QueryFunction.load(torch_state(arrays), channels=public.shape[0], n_classes=n_classes, device=device)


def noisy_histogram(
    public: PublicSet,
    sensitive: PrivateSet,
    *,
    query: QueryConfig,
    asked_sigma: float,
    inputs: Inputs,
    stages: Stages,
) -> NDArray[np.float64]:
    """S~ [labels, public classes] at `query.sigma`; the data is asked at `asked_sigma`, once, if it was not before."""
    function = query_function(public, query=query, inputs=inputs, stages=stages)
    question = question_of(inputs.world, query)
    event = query_event(asked_sigma, question)

    def ask(entropy: Entropy, progress: Callable[[int, int], None]) -> Built:
        release = semantics.ask(function, sensitive, k1=query.k1, event=event, entropy=entropy)
        return Built(arrays={"histogram": release.value}, privacy="released", events=release.events)

    answer = stages.private("histogram", inputs.of("histogram"), what=event.purpose, events=(event,), build=ask)
    if query.sigma == asked_sigma:
        return answer.arrays["histogram"]

    name = f"derived-{answer.manifest.key}-{query.sigma!r}"

    def derive(progress: Callable[[int, int], None]) -> Built:
        wider = semantics.noisier(
            answer.arrays["histogram"],
            k1=query.k1,
            asked=asked_sigma,
            wanted=query.sigma,
            entropy=stages.workers.of_first(lambda: stages.store.entropy(name)),
        )
        own = query_event(query.sigma, question)
        return Built(arrays={"histogram": wider}, privacy="released", events=(own,))

    derived = stages.public("histogram-derived", inputs.of("histogram-derived"), derive)
    if stages.workers.first:
        stages.store.forget(name)  # or its noise could be taken off again
    return derived.arrays["histogram"]
