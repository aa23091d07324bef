"""Accuracy: train on the synthetic images, count right answers on the real test split. A diagnostic without noise."""

from __future__ import annotations

from privimage.metrics.context import MetricContext
from privimage.metrics.metric import Family
from privimage.metrics.variants import CLASSIFIERS, PAPER


class Accuracy(Family):
    """accuracy[CLASSIFIER], in [0, 1]; with ours, which take seconds, or with those of the paper (`paper-`)."""

    what = "share of the test split that a classifier trained on synthetic images gets right"
    direction = "max"
    variants = (*CLASSIFIERS, *PAPER)
    reads = ("test",)
    share = True

    def measure(self, variant: str, context: MetricContext) -> float:
        """The share."""
        from privimage.metrics.classifiers import accuracy  # here, as it imports torch

        test = context.real("test")
        return accuracy(
            context.x, context.y, classifier=variant, test=test, by=context.by["test"], device=context.device
        )

    def steady(self, variant: str) -> bool:
        """The network takes the same number of steps for any number of images."""
        return variant == "cnn"


MEMBERS = {"accuracy": Accuracy()}
