"""The pipeline of a subset: public images chosen as for pre-training, and drawn from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from privimage.data.keywords import semantics_of
from privimage.data.sets import Chosen
from privimage.finite import check_images
from privimage.methods.context import Context
from privimage.methods.method import Synthetic
from privimage.methods.pipeline import Pipeline, Start
from privimage.progress import Tell
from privimage.stores.store import Built

if TYPE_CHECKING:
    from privimage.methods.subsets import SubsetMethod


class SubsetPipeline(Pipeline):
    """One trial of it."""

    def __init__(self, method: SubsetMethod, context: Context) -> None:
        super().__init__(method, context)
        self.left = method.left

    def images(self) -> Synthetic:
        """As many of every label, drawn by weight; an image that was chosen for no label serves any."""
        start = self._left(self._start()) if self.left else self._start()
        labels = len(self.sensitive.train.classes)

        def build(progress: Tell) -> Built:
            rng, y = np.random.default_rng((self.seed, 6)), np.arange(self.config.samples) % labels
            index = np.empty(len(y), np.int64)
            for label in range(labels):
                own = np.flatnonzero(np.isin(start.y, (label, labels)))
                weights = None if start.weights is None else start.weights[own] / start.weights[own].sum()
                index[y == label] = rng.choice(own, size=(y == label).sum(), p=weights)
                progress(label + 1, labels)
            x = start.x.rows(index)
            check_images(x)
            meta = {"classes": list(self.sensitive.train.classes)}
            return Built(arrays={"x": x, "y": y}, privacy=self.context.privacy, events=self.paid, meta=meta)

        made = self.stages.public("samples", self.inputs.of("samples"), build).arrays
        query = self._query if self.method.shares else None
        return Synthetic(x=made["x"], y=made["y"], inputs=self.inputs, query=query)

    def _left(self, start: Start) -> Start:
        """The images of all classes of which none is in it, for any label."""
        classes = self._selection().classes

        def build(progress: Tell) -> Built:
            image, label = semantics_of(self.public)
            index = np.setdiff1d(np.arange(len(self.public)), image[np.isin(label, classes)])
            return Built(arrays={"index": index}, privacy="released", events=self.paid)

        index = self.stages.public("left", self.inputs.of("left"), build).arrays["index"]
        null = len(self.sensitive.train.classes)
        return replace(start, x=Chosen(of=self.public, index=index), y=np.full(len(index), null), weights=None)
