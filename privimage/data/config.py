"""What a sweep file may say about data: one model for the sensitive set, one for the public set."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from privimage.local import LocalPath
from privimage.schema import Frozen

VisionName = Literal["mnist", "fashion-mnist", "cifar10"]

TEST_SHARE = 0.2  # with VALIDATION_SHARE: the embedded digits are split about 3,600 / 400 / 1,000
VALIDATION_SHARE = 0.08
MIN_GLYPHS = 10

OWN_SHAPE = {  # channels and side of the sets that are always the same
    "digits": (1, 28),
    "glyphs": (1, 28),
    "mnist": (1, 28),
    "fashion-mnist": (1, 28),
    "cifar10": (3, 32),
}
_EMBEDDED = ("digits", "glyphs")


class _ImageConfig(Frozen):
    """What both sets share: where the images are and the shape that they are brought to."""

    name: str
    root: LocalPath | None = None
    download: bool = False
    size: int | None = Field(default=None, ge=8, le=1024)
    channels: Literal[1, 3] | None = None

    @property
    def channels_and_side(self) -> tuple[int | None, int | None]:
        """Of the images, as far as the configuration alone tells."""
        channels, side = OWN_SHAPE.get(self.name, (None, None))
        return self.channels or channels, self.size or side

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of the images, as far as the configuration alone tells; else None."""
        channels, side = self.channels_and_side
        return None if channels is None or side is None else (channels, side, side)

    @model_validator(mode="after")
    def _source(self) -> _ImageConfig:
        if self.name in _EMBEDDED:
            if self.root is not None or self.download:
                raise ValueError(f"{self.name} comes with the package; remove root and download")
        elif self.root is None:
            what = "one directory per class" if self.name == "folder" else "the files that torchvision keeps"
            raise ValueError(f"name {self.name} needs root: the path of the folder that holds {what}")
        if self.name == "folder" and self.download:
            raise ValueError("an image folder cannot be downloaded; remove download")
        return self


class SensitiveConfig(_ImageConfig):
    """The sensitive set: where it is, the name of its ledger, how it is split.

    `size` and `channels` are the side in pixels and 1 (grey) or 3 (colour) of every image; None keeps the set's own (a
    folder has to give `channels`). A folder and the digits are cut into train, validation and test, every image by its
    own content (`split_by_content`); the torchvision sets keep their official test split, and validation is cut from
    their train split.
    """

    name: Literal["digits", "folder", "mnist", "fashion-mnist", "cifar10"]
    id: str = Field(max_length=100)
    validation: float = Field(default=VALIDATION_SHARE, gt=0, lt=1)
    test: float = Field(default=TEST_SHARE, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0)

    @field_validator("id")
    @classmethod
    def _file_name(cls, id: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", id):
            raise ValueError("use lower-case letters, digits, '.', '_' and '-', a letter or a digit first")
        return id

    @model_validator(mode="after")
    def _split(self) -> SensitiveConfig:
        official = self.name not in ("digits", "folder")
        if official and self.test != TEST_SHARE:
            raise ValueError(f"{self.name} has its own test split; remove test")
        if not official and self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation:g} + test {self.test:g} leave nothing to train on")
        if self.name == "folder" and self.channels is None:
            raise ValueError(
                "channels: give 1 (grey) or 3 (colour): one colour image must not decide it for all others"
            )
        return self

    @property
    def division(self) -> str:
        """What decides, beside an image's own content, in which split it is; the same for all sweeps on the set."""
        shares = f"validation {self.validation!r}, test {self.test!r}"
        return f"{self.name} by content, {shares}, split_seed {self.split_seed}"


class HeldOutConfig(Frozen):
    """A stand-in for the sensitive set: public classes that are taken out of the public set, some to a label.

    `labels` groups of classes are drawn by `seed`, together `share` of all public classes. Nothing here is sensitive:
    its ledger exists so that the stand-in goes through the same steps, and states no price.
    """

    name: Literal["held-out"] = "held-out"
    id: Literal["public-held-out"] = "public-held-out"
    labels: int = Field(ge=1)
    share: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    validation: float = Field(default=VALIDATION_SHARE, gt=0, lt=1)
    test: float = Field(default=TEST_SHARE, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0)


class PublicConfig(_ImageConfig):
    """The public labelled set. A torchvision set stands for its train split.

    `limit_classes` keeps at most this many classes, the first ones in class order: for quick runs.
    `min_images` is the number of distinct images below which a glyph is left out.
    """

    name: Literal["glyphs", "folder", "mnist", "fashion-mnist", "cifar10"]
    min_images: int = Field(default=MIN_GLYPHS, ge=1)
    limit_classes: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _glyphs(self) -> PublicConfig:
        if self.name != "glyphs" and self.min_images != MIN_GLYPHS:
            raise ValueError("min_images is for glyphs only; remove it")
        return self
