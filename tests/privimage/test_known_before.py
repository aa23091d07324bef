"""What is impossible is known before anything is charged: sizes from the file alone, metrics before the first trial."""

from __future__ import annotations

import pytest
from toys import trial

from privimage import metrics
from privimage.data.config import PublicConfig, SensitiveConfig
from privimage.errors import InputError
from privimage.generators import sizes
from privimage.methods.method import Sizes
from privimage.trial import check


@pytest.mark.parametrize(
    ("size", "side", "why"),
    [("unet-xs", 27, "multiple of 4"), ("unet-1.75m", 30, "multiple of 4"), ("dct-mlp-512", 8, "at least 16")],
)
def test_a_size_that_cannot_be_drawn_names_the_key_and_the_fix(size: str, side: int, why: str) -> None:
    with pytest.raises(InputError, match=rf"method\.model\.size: {size} .*{side} x {side}.*{why}.*set size"):
        sizes.check(size, (1, side, side))
    with pytest.raises(InputError, match=why):
        check(trial(method__model__size=size), Sizes(n_train=40, n_labels=3, n_public=12, shape=(1, side, side)))


def test_every_size_fits_what_it_is_made_for() -> None:
    for size in sizes.DOOR.names():
        sizes.check(size, (3, 32, 32))
        member = sizes.DOOR.load(size)
        deep = len(getattr(member, "multipliers", ())) > 3  # of the paper's: for 64 pixels, or for 32 alone
        papers = size in ("gan-9.42m", "gan-11.3m")  # as well: 28 halves only twice
        sizes.check(size, (3, 64, 64) if deep or papers else (1, 28, 28))


def test_the_configuration_alone_tells_the_shape() -> None:
    digits = SensitiveConfig(name="digits", id="d")
    assert digits.shape == (1, 28, 28)
    assert digits.model_copy(update={"size": 27}).shape == (1, 27, 27)
    assert PublicConfig(name="folder", root="x").shape is None
    assert SensitiveConfig(name="folder", root="x", id="d", channels=3, size=64).shape == (3, 64, 64)


def test_a_test_split_of_one_image_is_refused_for_what_reads_it() -> None:
    with pytest.raises(InputError, match=r"metrics: accuracy\[lr\].*raise data\.sensitive\.test"):
        metrics.check(["accuracy[lr]"], n_test=1)
    metrics.check(["dp-accuracy[lr]"], n_test=1)
