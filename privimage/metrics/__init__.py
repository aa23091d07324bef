"""Scores of synthetic images: FID by feature network, accuracy by classifier. Each says what it touches."""

from privimage.metrics.dp_score import dp_accuracy
from privimage.metrics.evaluate import check, evaluate, reference_statistics
from privimage.metrics.fid import Statistics, fid
from privimage.metrics.metric import Metric, Touch, direction_of, is_private, parts_of
from privimage.metrics.weights import Features

__all__ = [
    "Features",
    "Metric",
    "Statistics",
    "Touch",
    "check",
    "direction_of",
    "dp_accuracy",
    "evaluate",
    "fid",
    "is_private",
    "parts_of",
    "reference_statistics",
]
