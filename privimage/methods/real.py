"""The sensitive training images as if they had been generated: what no method can beat. Nothing is stored."""

from __future__ import annotations

from typing import Any

from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Context, Method, MethodConfig, Synthetic


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
        return Synthetic(x=train.x, y=train.y, events=context.paid, inputs=context.inputs, source="private-train")


MEMBERS = {"real": Real()}
