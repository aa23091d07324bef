"""The sensitive training images as if they had been generated: what no method can beat. Nothing is stored."""

from __future__ import annotations

from typing import Any

import numpy as np

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
        """The training split, once the look at it is written down."""
        for look in self.looks(context.config):
            context.stages.look(look)
        train: Any = context.sensitive.train
        x = np.concatenate(list(train.blocks()))  # all in memory, as generated images are
        return Synthetic(x=x, y=train.y, inputs=context.inputs, source="private-train")


MEMBERS = {"real": Real()}
