"""The noisy histogram as stages: the query function once per public set, the query once per sensitive set."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privimage import semantics
from privimage.checkpoint import NO_CHECKPOINT
from privimage.data.sets import PrivateSet, PublicSet
from privimage.methods.declared import Inputs
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.query import QueryConfig
from privimage.query_training import train_query_function
from privimage.query_weights import check_agrees, known_weights
from privimage.semantics import QueryFunction
from privimage.shared_answer import shared_answer
from privimage.stages import Stages
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state
from privimage.workers import Workers

if TYPE_CHECKING:
    from privimage.methods.context import Context


def query_function(
    public: PublicSet, *, query: QueryConfig, inputs: Inputs, stages: Stages, alone: bool = False
) -> QueryFunction:
    """The query function, trained on the public set if no one has before. With `alone` for the first worker only."""
    config, determined = query.function, inputs.of("query-function")
    device = stages.workers.device
    load = partial(
        QueryFunction.load,
        network=config.network,
        channels=public.shape[0],
        n_classes=len(public.classes),
        device=device,
    )

    def build(progress: Tell) -> Built:
        if config.weights is not None:
            state = known_weights(config, classes=public.classes)
            check_agrees(load(state), public, config=config)
        else:
            state = train_query_function(
                public,
                config=config,
                seed=0,
                workers=Workers.alone(device) if alone else stages.workers,
                progress=progress,
                checkpoint=NO_CHECKPOINT if alone else stages.checkpoint("query-function", determined),
            )
        return Built(arrays=numpy_state(state), privacy="public")

    run = stages.alone if alone else stages.public
    return load(torch_state(run("query-function", determined, build).arrays))


def noisy_histogram(
    public: PublicSet, sensitive: PrivateSet, *, query: QueryConfig, context: Context
) -> NDArray[np.float64]:
    """S~ [labels, public classes] with the noise that the trial needs; the data is asked unless it was before."""
    function = query_function(public, query=query, inputs=context.inputs, stages=context.stages)

    def ask(event: Event, entropy: Entropy) -> Release[NDArray[np.float64]]:
        return semantics.ask(function, sensitive, k1=query.k1, event=event, entropy=entropy)

    return shared_answer("histogram", context, sensitivity=query.k1**0.5, ask=ask)["histogram"]
