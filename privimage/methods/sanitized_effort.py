"""Effort of GS-WGAN: a few steps of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from privimage.data.sets import PrivateSet
from privimage.generators.generator import OneStep
from privimage.matching.sanitized import train
from privimage.methods.effort import CPU
from privimage.methods.steps_effort import Stepwise
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import silent

if TYPE_CHECKING:
    from privimage.methods.sanitized import SanitizedMethodConfig


def _few(
    generator: OneStep, data: PrivateSet, config: SanitizedMethodConfig, event: Event
) -> Release[dict[str, Tensor]]:
    own = config.sanitized.model_copy(update={"warm": 0})
    return train(generator, data, config=own, event=event, entropy=Entropy.fresh(), seed=0, device=CPU, progress=silent)


def _kind(config: SanitizedMethodConfig) -> str:
    own = config.sanitized
    return f"{own.parts} {own.batch} {own.rounds} {own.seen} {own.width}"


def _steps(config: SanitizedMethodConfig) -> float:
    own = config.sanitized
    return own.steps + max(0, own.warm - own.rounds) / own.rounds


SANITIZED = Stepwise(few=_few, kind=_kind, steps=_steps)
