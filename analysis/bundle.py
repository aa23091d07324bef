"""Bundle: the folder that an exported generator lies in. One owner of its file names and of what config.json says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from privimage.analysis.spend import LooksShown
from privimage.errors import InputError
from privimage.generators import sizes
from privimage.generators.generator import Generator, SampleConfig
from privimage.plain_json import read_json
from privimage.privacy.accounting.costs import BestOf
from privimage.privacy.budget import Event
from privimage.privacy.guarantee import Guarantee
from privimage.schema import Frozen, parse

MODEL, CONFIG, SAMPLES, CARD = "model.safetensors", "config.json", "samples.png", "card.md"
PixelCount = Annotated[int, Field(ge=1, le=1 << 16)]  # of a side, or of channels; far more than any set has


class Alone(Frozen):
    """What the trial asked, and what that would cost had it been the only one: no guarantee for one that was chosen.

    Of the winner of a private `selection`, whose events mean nothing without it, there is no such price.
    """

    epsilon: Annotated[float, Field(ge=0)] | None
    delta: float = Field(ge=0, lt=1)
    events: tuple[Event, ...]
    selection: BestOf | None = None


class BundleConfig(Frozen):
    """What has to be stated beside the generator, and everything needed to rebuild it and to draw images.

    `without_noise` are numbers about sensitive images that no epsilon covers, counted by `analysis.spend.looks`.
    """

    format: Literal[1] = 1
    guarantee: Guarantee
    without_noise: tuple[LooksShown, ...]
    alone: Alone
    trial: str
    sweep: str
    method: str
    size: str
    shape: tuple[PixelCount, PixelCount, PixelCount]  # (channels, height, width)
    classes: Annotated[tuple[str, ...], Field(min_length=1)]  # names of the labels
    sample: SampleConfig
    model_sha256: str

    @property
    def n_classes(self) -> int:
        """How many labels there are."""
        return len(self.classes)


def rebuild(config: BundleConfig, raw: bytes, *, where: str) -> Generator:
    """The generator of these weights. Raises InputError if they are damaged or do not fit its size."""
    if hashlib.sha256(raw).hexdigest() != config.model_sha256:
        raise InputError(f"{where}: does not match the digest in {CONFIG}; pull it again with `privimage best`")
    if config.size not in sizes.DOOR.names():
        raise InputError(f"{where}: unknown model size {config.size!r}; allowed: {', '.join(sizes.DOOR.names())}")
    try:
        generator = sizes.build(config.size, shape=config.shape, n_classes=config.n_classes, seed=0)
        generator.load(load_tensors(raw))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (SafetensorError, RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise InputError(f"{where}: no memory here for a {config.size} of images {config.shape}") from None
        raise InputError(
            f"{where}: these are not the weights of a {config.size} for {config.n_classes} labels"
        ) from None
    return generator


def read(directory: Path, config: BundleConfig) -> Generator:
    """The generator in a folder. Raises InputError in one line if its file is missing, or not what `config` says."""
    return rebuild(config, _bytes(directory / MODEL), where=str(directory / MODEL))


def read_config(directory: Path) -> BundleConfig:
    """What the config.json in a folder says. Raises InputError in one line if it is missing or damaged."""
    return parse(BundleConfig, _json(directory / CONFIG), where=f"{directory / CONFIG}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise InputError(f"{path}: no such file; expected a folder made by `privimage best`") from None


def _json(path: Path) -> dict[str, object]:
    raw = _bytes(path)
    try:
        values = read_json(raw)
    except ValueError:
        raise InputError(f"{path}: not valid JSON; pull it again with `privimage best`") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of keys, got {type(values).__name__}")
    return values
