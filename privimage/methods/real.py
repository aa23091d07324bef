"""The sensitive training images as if they had been generated: what no method can beat. Nothing is stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from privimage.data.sets import BLOCK
from privimage.data.sources import source
from privimage.methods.context import Context
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, Synthetic


class Real(Method):
    """No generator: the images themselves are what is measured."""

    what = "the sensitive training images themselves"
    role = "ceiling"
    config = MethodConfig
    generates = False

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One look at the training split."""
        return (Stage(kind="real", world=("sensitive",), asks=Ask(purpose="training images", sigma=0)),)

    def images(self, context: Context) -> Synthetic:
        """The training split, once the look at it is written down; of a large one as many as are held in memory.

        These come from all over it: generated images are in memory too, and metrics say how many they measured.
        """
        for look in self.looks(context.config):
            context.stages.look(look)
        train: Any = context.sensitive.train
        n = min(len(train), max(1, source.LARGE // int(np.prod(train.shape))))
        index = np.linspace(0, len(train) - 1, n).round().astype(np.int64)
        x = np.concatenate([train.rows(index[start : start + BLOCK]) for start in range(0, n, BLOCK)])
        return Synthetic(x=x, y=train.y[index], inputs=context.inputs, source="private-train")


MEMBERS = {"real": Real()}
