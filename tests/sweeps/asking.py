"""At which noise a sweep asks what its trials share: plain functions, so that tests of other folders can have them."""

from __future__ import annotations

from privimage.sweeps.price import least_sigmas
from privimage.sweeps.sweep import Sweep


def every(sweep: Sweep, sigma: float) -> dict[str, float]:
    """All shared questions of the sweep, asked at this noise multiplier."""
    return dict.fromkeys(least_sigmas(sweep), sigma)


def least(sweep: Sweep) -> float:
    """The least noise multiplier of its questions, of which there must be one."""
    return min(least_sigmas(sweep).values())
