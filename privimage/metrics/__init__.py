"""Scores of synthetic images: FID by feature network, accuracy by classifier. Each says what it touches."""

from privimage.metrics.evaluate import evaluate, reference_statistics
from privimage.metrics.fid import Statistics, fid
from privimage.metrics.metric import Metric, direction_of

__all__ = ["Metric", "Statistics", "direction_of", "evaluate", "fid", "reference_statistics"]
