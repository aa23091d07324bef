"""What a card says that a generator was trained on, and what drawing starts from, where a method brings a sentence."""

from __future__ import annotations

from privimage.analysis import methods
from privimage.methods.method import METHODS, load


def test_sentences_name_the_sets_and_no_other_place() -> None:
    named = [name for name in METHODS.names() if load(name).trained]
    assert named
    for name in named:
        told = methods.trained(name, sensitive="digits-v1", public="glyphs")
        assert "`digits-v1`" in told and "`glyphs`" in told and "{" not in told and told.endswith(".")


def test_what_draws_from_images_that_are_not_public_says_so() -> None:
    assert "voted" in methods.starts("pe") or "votes" in methods.starts("pe")
    assert not methods.starts("privimage+a") and not methods.trained("privimage+a", sensitive="a", public="b")
    assert not methods.starts("none that is installed")
