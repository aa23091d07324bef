"""The pipeline of DP-FETA: that of a diffusion, with central images in the place of public ones."""

from __future__ import annotations

import numpy as np

from privimage.data.sets import PublicSet
from privimage.data.views import Views
from privimage.generators.generator import Generator
from privimage.matching.stages import central
from privimage.methods.pipeline import Pipeline, Start


class FetaPipeline(Pipeline):
    """See above."""

    def _start(self) -> Start:
        """Variations of the central images, with their labels."""
        x, classes = central(self.context), self.sensitive.train.classes
        released = PublicSet(x=x, y=np.arange(len(classes)), name="central", classes=classes)
        views = Views.of(released, self.config.pool)
        index = np.arange(len(views))
        return Start(x=views.held(index), y=index % len(classes), weights=None)

    def _fit(self, generator: Generator, start: Start) -> None:
        """As of every diffusion, on public images: how dark strokes are, which no mean image tells."""
        super()._fit(generator, Start(x=self.public, y=np.zeros(len(self.public), np.int64), weights=None))
