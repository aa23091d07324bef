"""Effort of DP-Kernel: a few steps of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from privimage.data.sets import PrivateSet
from privimage.generators.generator import OneStep
from privimage.matching.kernel import train
from privimage.methods.effort import CPU
from privimage.methods.steps_effort import Stepwise
from privimage.privacy.budget import Event, Release
from privimage.privacy.entropy import Entropy
from privimage.progress import silent

if TYPE_CHECKING:
    from privimage.methods.kernel import KernelMethodConfig


def _few(generator: OneStep, data: PrivateSet, config: KernelMethodConfig, event: Event) -> Release[dict[str, Tensor]]:
    return train(
        generator, data, config=config.kernel, event=event, entropy=Entropy.fresh(), seed=0, device=CPU, progress=silent
    )


def _kind(config: KernelMethodConfig) -> str:
    kernel = config.kernel
    return f"{kernel.q} {kernel.features} {kernel.batch}"


KERNEL = Stepwise(few=_few, kind=_kind, steps=lambda config: config.kernel.steps)
