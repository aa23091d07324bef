"""What settings of a diffusion method are likely to do in vain, by public numbers alone: a line each, or None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, sqrt
from typing import TYPE_CHECKING

from privimage.generators import sizes
from privimage.methods.config import DiffusionConfig
from privimage.methods.method import Sizes

if TYPE_CHECKING:
    from privimage.methods.diffusion import DiffusionMethod

Say = Callable[["DiffusionMethod", Sequence[DiffusionConfig], Sizes], str | None]


def glyphs_in_colour(method: DiffusionMethod, configs: Sequence[DiffusionConfig], of: Sizes) -> str | None:
    """Where photographs are seen by a network that is made for glyphs."""
    colour = of.shape is not None and of.shape[0] > 1
    if method.pretrain_on != "tilted" or not colour or all(c.means.network != "query" for c in configs):
        return None
    return "method.means.network: query is made for grey glyphs; for photographs leave it out"


def means_hidden(method: DiffusionMethod, configs: Sequence[DiffusionConfig], of: Sizes) -> str | None:
    """Where the noise of a sum is more than the images of a label."""
    each = of.n_train / of.n_labels
    noise = max((c.means.sigma or 0.0 for c in configs), default=0.0) if method.pretrain_on == "tilted" else 0.0
    if noise <= each:
        return None
    return (
        f"method.means.sigma: noise of up to {noise:g} in every sum hides the mean of a label of about {each:.0f} "
        "images; keep it well below"
    )


def counts_hidden(method: DiffusionMethod, configs: Sequence[DiffusionConfig], of: Sizes) -> str | None:
    """Where no public class can stand out, though all images of a label named it.

    Of so many noisy counts of nothing as there are public classes, the largest is about sigma_s sqrt(2 k1 ln classes).
    """
    each, spread = of.n_train / of.n_labels, sqrt(2 * log(of.n_public))
    most = max((c.query.sigma * sqrt(c.query.k1) for c in configs), default=0.0) if method.queries else 0.0
    if most * spread <= each:
        return None
    return (
        f"method.query.sigma: with noise of up to {most:g} on counts, some of {of.n_public} public classes would count "
        f"{most * spread:.0f} by noise alone, and a label has about {each:.0f} images; keep it well below "
        f"{each / spread:.2g}"
    )


def tuned_after_means(method: DiffusionMethod, configs: Sequence[DiffusionConfig], of: Sizes) -> str | None:
    """Where DP-SGD takes a part of the budget of means that a network of two cores can carry alone."""
    small = [c.model.size for c in configs if sizes.taught_by_means(c.model.size)]
    if method.pretrain_on != "tilted" or method.finetune != "private" or not small:
        return None
    return (
        f"method.model.size: with {small[0]} DP-SGD after the means gained nothing on public data (docs/means.md): "
        "privimage+m leaves the whole budget to them"
    )


SAID: tuple[Say, ...] = (glyphs_in_colour, means_hidden, counts_hidden, tuned_after_means)
