"""What can be known of the files of a query function before anything runs; free of torch where there are none."""

from __future__ import annotations

from functools import lru_cache

from privimage.query import SemanticsConfig


@lru_cache(maxsize=64)
def check_function(config: SemanticsConfig, classes: tuple[str, ...]) -> None:
    """Raise InputError if its weights are to be read from a file that has none for these public classes."""
    if config.weights is not None:
        from privimage.query_weights import known_weights  # here, as it imports torch

        known_weights(config, classes=classes)
