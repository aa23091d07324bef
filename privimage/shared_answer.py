"""Shared answer: what all trials of a sweep ask is asked once, with the least noise that one of them needs.

A trial that needs more noise adds it to that answer, at no cost (post-processing): so a search over it costs one query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privimage.errors import Violation
from privimage.methods.declared import Ask, Stage
from privimage.privacy.budget import Event, Release, grid_step, on_grid
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.stores.store import Built

if TYPE_CHECKING:
    from privimage.methods.context import Context

DERIVED = "{}-derived"  # the kind of what is derived from an answer of a kind


def stages_of(
    kind: str, *, purpose: str, sigma: str, fields: tuple[str, ...], after: tuple[str, ...]
) -> tuple[Stage, ...]:
    """The stage that asks, and the one that adds noise. `sigma` is the field with the noise that a trial needs.

    `after` are the stages that the question follows from: of two questions neither need be asked anew with the other.
    """
    ask = Ask(purpose=purpose, sigma=sigma, shared=True)
    return (
        Stage(kind=kind, fields=fields, world=("sensitive",), after=after, asks=ask),
        Stage(kind=DERIVED.format(kind), fields=(sigma,), after=(kind,)),  # skipped where it is what was asked
    )


def shared_answer(
    kind: str,
    context: Context,
    *,
    sensitivity: float,
    ask: Callable[[Event, Entropy], Release[NDArray[np.float64]]],
    beside: Callable[[], Mapping[str, NDArray[Any]]] = dict,
) -> Mapping[str, NDArray[Any]]:
    """The answer of that stage, under its name, with the noise that the trial needs: found, derived, or asked by `ask`.

    `sensitivity` is what the noise of the answer is a multiple of: see `noisier`. `beside` are public arrays without
    which the answer could not be read; they are kept with it.
    """
    own, asked, inputs, stages = context.events[kind], context.asked(kind), context.inputs, context.stages

    def build(entropy: Entropy, progress: Tell) -> Built:
        release = ask(asked, entropy)
        return Built(arrays={**beside(), kind: release.value}, privacy="released", events=release.events)

    answer = stages.private(kind, inputs.of(kind), what=asked.purpose, events=(asked,), build=build)
    if own.sigma == asked.sigma:
        return answer.arrays
    derived, name = DERIVED.format(kind), f"derived-{answer.manifest.key}-{own.sigma!r}"

    def derive(progress: Tell) -> Built:
        entropy = stages.workers.of_first(lambda: stages.store.entropy(name))
        wider = noisier(
            answer.arrays[kind], sensitivity=sensitivity, asked=asked.sigma, wanted=own.sigma, entropy=entropy
        )
        return Built(arrays={kind: wider}, privacy="released", events=(own,))

    found = stages.public(derived, inputs.of(derived), derive)
    if stages.workers.first:
        stages.store.forget(name)  # or its noise could be taken off again
    return {**answer.arrays, kind: found.arrays[kind]}


def noisier(
    answer: NDArray[np.float64], *, sensitivity: float, asked: float, wanted: float, entropy: Entropy
) -> NDArray[np.float64]:
    """An answer of noise multiplier `wanted` derived from one of `asked` <= wanted, at no further cost.

    Adds N(0, sensitivity^2 (wanted^2 - asked^2)), rounded to the grid that the answer is on: the sum has the law of a
    question asked at `wanted` (post-processing). Of values that were no whole numbers `sensitivity` is the one that
    `Event.perturb` took (`rounded`). Raises Violation if `wanted` is below `asked`.
    """
    if wanted < asked:
        raise Violation(f"noise can be added and not taken away: wanted {wanted:g}, asked {asked:g}")
    std = sensitivity * (wanted**2 - asked**2) ** 0.5
    return answer + on_grid(entropy.stream("noisier").normals(*answer.shape) * std, grid_step(sensitivity))
