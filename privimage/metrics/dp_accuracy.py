"""The accuracy as a differentially private score: a noisy count of right answers on the validation split."""

from __future__ import annotations

from privimage.metrics.context import MetricContext
from privimage.metrics.metric import Family
from privimage.metrics.variants import CLASSIFIERS
from privimage.privacy.budget import Release


class DpAccuracy(Family):
    """dp-accuracy[CLASSIFIER]; noise may take it out of [0, 1]."""

    what = "noisy count of correct answers"
    direction = "max"
    variants = CLASSIFIERS
    reads = ("validation",)
    noisy = True
    share = True

    def measure(self, variant: str, context: MetricContext) -> Release[float]:
        """The noisy share."""
        from privimage.metrics import dp_score  # here, as it imports torch

        event, entropy = context.noise
        return dp_score.dp_accuracy(
            context.x,
            context.y,
            classifier=variant,
            validation=context.real("validation"),
            event=event,
            entropy=entropy,
            device=context.device,
        )


MEMBERS = {"dp-accuracy": DpAccuracy()}
