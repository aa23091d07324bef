"""The noisy histogram as stages: the query function once per public set, the query once per sensitive set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privimage import semantics
from privimage.data.sets import PrivateSet, PublicSet
from privimage.methods.declared import Inputs
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.query import QueryConfig
from privimage.semantics import QueryFunction
from privimage.shared_answer import shared_answer
from privimage.stages import Stages
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state

if TYPE_CHECKING:
    from privimage.methods.context import Context


def query_function(
    public: PublicSet, *, query: QueryConfig, inputs: Inputs, stages: Stages, alone: bool = False
) -> QueryFunction:
    """The query function, trained on the public set if no one has before. With `alone` for the first worker only."""
    device = stages.workers.device

    def build(progress: Tell) -> Built:
        state = semantics.train_query_function(public, config=query.function, seed=0, device=device, progress=progress)
        return Built(arrays=numpy_state(state), privacy="public")

    run = stages.alone if alone else stages.public
    arrays = run("query-function", inputs.of("query-function"), build).arrays
    n_classes = len(public.classes)
    return QueryFunction.load(torch_state(arrays), channels=public.shape[0], n_classes=n_classes, device=device)


def noisy_histogram(
    public: PublicSet, sensitive: PrivateSet, *, query: QueryConfig, context: Context
) -> NDArray[np.float64]:
    """S~ [labels, public classes] with the noise that the trial needs; the data is asked unless it was before."""
    function = query_function(public, query=query, inputs=context.inputs, stages=context.stages)

    def ask(event: Event, entropy: Entropy) -> Release[NDArray[np.float64]]:
        return semantics.ask(function, sensitive, k1=query.k1, event=event, entropy=entropy)

    return shared_answer("histogram", context, sensitivity=query.k1**0.5, ask=ask)["histogram"]
