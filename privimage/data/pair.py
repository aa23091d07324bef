"""The two sets of a trial: what its configuration says of both, and both as they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from privimage.data.config import HeldOutConfig, PublicConfig, SensitiveConfig
from privimage.data.held_out import hold_out
from privimage.data.keywords import load_described
from privimage.data.load import load_sensitive
from privimage.data.sets import PublicSet, SensitiveData, check_apart
from privimage.errors import InputError
from privimage.paths import Root
from privimage.schema import Frozen

T = TypeVar("T")


def _kind(value: Any) -> str:
    """Which model a sensitive set is: any name but that of the internal one is for SensitiveConfig to judge."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return "held-out" if name == "held-out" else "set"


class DataConfig(Frozen):
    """The sensitive set (its `id` names its ledger), or a public stand-in for it, and the public set.

    `revision` says which images the id stands for: found when they are read (`Contents`), never written by hand.
    """

    sensitive: Annotated[
        Annotated[SerializeAsAny[SensitiveConfig], Tag("set")] | Annotated[HeldOutConfig, Tag("held-out")],
        Discriminator(_kind),
    ]  # the images that may not be shared
    public: SerializeAsAny[PublicConfig]  # labelled images that anybody may see
    stand_in: bool = False  # whether `sensitive` is public data in the place of the sensitive set
    revision: int = Field(default=0, ge=0)  # found when the images are read

    @model_validator(mode="after")
    def _alike(self) -> DataConfig:
        """Both sets have images of the same shape, as far as the configuration tells; `load_data` sees the rest."""
        if not isinstance(self.sensitive, HeldOutConfig):
            both = zip(self.public.channels_and_side, self.sensitive.channels_and_side, strict=True)
            for what, (public, sensitive) in zip(("channels", "pixels a side"), both, strict=True):
                if public is not None and sensitive is not None and public != sensitive:
                    raise ValueError(
                        f"public images have {public} {what} but sensitive ones {sensitive}; set size and channels so "
                        "that they agree"
                    )
        return self

    @property
    def channels(self) -> int | None:
        """Of the images of both sets, as far as the configuration tells."""
        sets = [self.public] if isinstance(self.sensitive, HeldOutConfig) else [self.public, self.sensitive]
        return next((n for n, _ in (one.channels_and_side for one in sets) if n is not None), None)

    @property
    def division(self) -> str | None:
        """What the ledger keeps of how the set is split; None for a stand-in, whose ledger states no price."""
        if self.stand_in or isinstance(self.sensitive, HeldOutConfig):
            return None
        return self.sensitive.division

    @property
    def identity(self) -> dict[str, Any]:
        """The public description of the data: names and splits, never anything computed from sensitive content.

        Where the sensitive images lie is no part of it: id and revision say which they are, wherever they are moved.
        """
        set, public = self.sensitive, self.public.identity
        if isinstance(set, HeldOutConfig):
            sensitive = {**set.model_dump(mode="json"), "revision": self.revision, "of": public}
            return {"sensitive": sensitive, "public": {**public, "without": sensitive}}
        sensitive = {name: value for name, value in set.identity.items() if name not in set.place}
        return {"sensitive": {**sensitive, "revision": self.revision}, "public": public}


def load_data(config: DataConfig, *, root: Root) -> tuple[PublicSet, SensitiveData]:
    """Both sets; what is made once of either is kept under `root`.

    Raises InputError if they cannot be read, or do not have the same image shape.
    """
    public = _named("data.public", lambda: load_described(config.public, cache=root.rendered))
    if isinstance(config.sensitive, HeldOutConfig):
        return hold_out(public, config.sensitive)
    source = config.sensitive
    sensitive = _named("data.sensitive", lambda: load_sensitive(source, place=root.decoded(source.id)))
    if public.shape != sensitive.train.shape:
        raise InputError(
            f"data: public images are {public.shape} but sensitive ones {sensitive.train.shape} (channels, height, "
            "width); set size and channels so that they agree"
        )
    if not config.stand_in:
        check_apart(public, sensitive, key="data.public")
    return public, sensitive


def _named(key: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
