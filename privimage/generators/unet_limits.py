"""What no UNet can be; free of torch."""

from __future__ import annotations

from privimage.errors import InputError


def check_sizes(
    channels: int,
    image_size: int,
    n_classes: int,
    width: int,
    multipliers: tuple[int, ...],
    attention: tuple[int, ...],
) -> None:
    """Raise InputError for what no UNet can be: see UNet."""
    if channels < 1 or n_classes < 1:
        raise InputError(f"expected channels and n_classes >= 1, got {channels} and {n_classes}")
    if width < 4 or width % 2:
        raise InputError(f"expected an even width >= 4, got {width}")
    if not multipliers or min(multipliers) < 1:
        raise InputError(f"expected one multiplier >= 1 a level, got {multipliers}")
    if min(attention, default=1) < 1:
        raise InputError(f"expected attention resolutions >= 1, got {attention}")
    levels = len(multipliers)
    factor = 2 ** (levels - 1)
    if image_size < factor or image_size % factor:
        raise InputError(f"a UNet needs a side that is a multiple of {factor} for {levels} levels, got {image_size}")
