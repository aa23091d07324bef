"""Scores of synthetic images: one file a family, each says what it touches; imported when it is named."""

from privimage.metrics.context import MetricContext
from privimage.metrics.evaluate import check, evaluate, score, scored
from privimage.metrics.metric import Family, Metric, Touch, direction_of, family_of, is_private, looks_of, names
from privimage.metrics.weights import Features

__all__ = [
    "Family",
    "Features",
    "Metric",
    "MetricContext",
    "Touch",
    "check",
    "direction_of",
    "evaluate",
    "family_of",
    "is_private",
    "looks_of",
    "names",
    "score",
    "scored",
]
