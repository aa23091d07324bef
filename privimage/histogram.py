"""The noisy histogram as stages: the query function once per public set, the query once per sensitive set.

A sweep asks at the smallest sigma_s it needs; every larger sigma_s is derived from that answer by adding noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from privimage import semantics
from privimage.data.sets import PrivateSet, PublicSet
from privimage.methods.declared import Ask, Inputs, Stage
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.semantics import QueryConfig, QueryFunction
from privimage.stages import Stages
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state

STAGES = (
    Stage(kind="query-function", fields=("query.function",), world=("public",)),
    Stage(
        kind="histogram",
        fields=("query.k1",),
        world=("sensitive",),
        asks=Ask(purpose="query", sigma="query.sigma", shared=True),
    ),
    Stage(kind="histogram-derived", fields=("query.sigma",)),  # skipped where it is the noise that was asked
)


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
    own: Event,
    asked: Event,
    inputs: Inputs,
    stages: Stages,
) -> NDArray[np.float64]:
    """S~ [labels, public classes] with the noise of `own`; the data is asked as `asked` says, unless it was before."""
    function = query_function(public, query=query, inputs=inputs, stages=stages)

    def ask(entropy: Entropy, progress: Callable[[int, int], None]) -> Built:
        release = semantics.ask(function, sensitive, k1=query.k1, event=asked, entropy=entropy)
        return Built(arrays={"histogram": release.value}, privacy="released", events=release.events)

    answer = stages.private("histogram", inputs.of("histogram"), what=asked.purpose, events=(asked,), build=ask)
    if own.sigma == asked.sigma:
        return answer.arrays["histogram"]

    name = f"derived-{answer.manifest.key}-{own.sigma!r}"

    def derive(progress: Callable[[int, int], None]) -> Built:
        wider = semantics.noisier(
            answer.arrays["histogram"],
            k1=query.k1,
            asked=asked.sigma,
            wanted=own.sigma,
            entropy=stages.workers.of_first(lambda: stages.store.entropy(name)),
        )
        return Built(arrays={"histogram": wider}, privacy="released", events=(own,))

    derived = stages.public("histogram-derived", inputs.of("histogram-derived"), derive)
    if stages.workers.first:
        stages.store.forget(name)  # or its noise could be taken off again
    return derived.arrays["histogram"]
