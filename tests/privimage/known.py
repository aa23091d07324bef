"""Entropies that a test injects, so that it knows what was drawn."""

from __future__ import annotations

from privimage.privacy.entropy import Entropy


def entropy(number: int) -> Entropy:
    """The entropy whose 256 bits are those of `number`."""
    return Entropy(number.to_bytes(32, "big"))
