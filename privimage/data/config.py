"""What a sweep file may say about data: the fields of a role, beside those of the source that `name` names."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from privimage.data.sources.source import SOURCES, SetRole, Source
from privimage.errors import InputError
from privimage.field_types import ONCE, spelt
from privimage.schema import Frozen, is_null

TEST_SHARE = 0.2  # with VALIDATION_SHARE: the embedded digits are split about 3,600 / 400 / 1,000
VALIDATION_SHARE = 0.08
ID = spelt("[a-z0-9][a-z0-9._-]*", use="lower-case letters, digits, '.', '_' and '-', a letter or a digit first")
SHARES = ("validation", "test", "split_seed")
Word = Annotated[str, Field(min_length=1)]
OWN = ("test_root", "official")  # fields by which a set that could be cut into all three splits has its own test split


class _InRole(Source):
    """A source in a role. Made from the values of a file, it is of the class that has the fields of both."""

    role: ClassVar[SetRole]

    def __new__(cls, *args: Any, **values: Any) -> Self:
        made: Self = super().__new__(cls.chosen(values))
        return made

    def __reduce__(self) -> Any:
        return _revived, (self.role, self.name, self.__getstate__())

    @classmethod
    def chosen(cls, values: Any) -> type[Self]:
        """The class that these values are for; this one if they name no source (and are refused by it)."""
        name = values.get("name") if isinstance(values, Mapping) else None
        if "role" in vars(cls) and isinstance(name, str):
            try:
                chosen: type[Self] = _model(cls, name, SOURCES.load(name))
                return chosen
            except InputError:
                return cls
        return cls

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_source(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        chosen = cls.chosen(values)
        return handler(values) if chosen is cls else chosen.model_validate(values)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SOURCES.names():
            raise ValueError(f"unknown{SOURCES.nearest(name)}")
        roles = SOURCES.load(name).roles
        if cls.role not in roles:
            raise ValueError(f"{name} can be the {roles[0]} set only")
        return name

    def open(self, **_: Any) -> Any:
        """See Source.open, of the source that is beside this role among the bases."""
        raise NotImplementedError


@lru_cache(maxsize=128)
def _model(role: type[_InRole], name: str, source: type[Source]) -> Any:
    """The class with the fields of the role and of the source; the source's own methods come first."""
    told = {"__module__": __name__, "__doc__": source.__doc__}
    return types.new_class(f"{role.__name__}[{name}]", (source, role), exec_body=lambda space: space.update(told))


def _revived(role: SetRole, name: str, state: Any) -> Any:
    base = {"sensitive": SensitiveConfig, "public": PublicConfig}[role]
    made = Frozen.__new__(_model(base, name, SOURCES.load(name)))
    made.__setstate__(state)
    return made


class SensitiveConfig(_InRole):
    """The sensitive set: where it is, the name of its ledger, how it is split.

    It is cut into train, validation and test, every image by its own content (`split_by_content`); a set that has a
    test split of its own keeps that, and validation is cut from its train split.
    """

    role: ClassVar[SetRole] = "sensitive"

    id: Annotated[str, Field(max_length=100), ID]  # names its ledger: the same images, the same id, for ever
    validation: float = Field(default=VALIDATION_SHARE, gt=0, lt=1)  # share that scores the search, if it is private
    test: float = Field(default=TEST_SHARE, gt=0, lt=1)  # share that is only measured against
    split_seed: int = Field(default=0, ge=0)  # another seed, another split

    @model_validator(mode="after")
    def _split(self) -> Self:
        if self.has_test and self.test != TEST_SHARE:
            raise ValueError(f"{self.name} has its own test split; remove test")
        if not self.has_test and self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation:g} + test {self.test:g} leave nothing to train on")
        self.check_sensitive()
        return self

    @property
    def division(self) -> str:
        """What decides, beside an image's own content, in which split it is; the same for all sweeps on the set."""
        return division_of({"name": self.name, **{field: getattr(self, field, None) for field in (*SHARES, *OWN)}})


def division_of(values: Mapping[str, Any]) -> str:
    """The division of a sensitive set, from the values of its configuration: its source need not be installed."""
    fields = SensitiveConfig.model_fields
    validation, test, seed = (values.get(field, fields[field].default) for field in SHARES)
    share = "its own" if any(values.get(field) for field in OWN) else repr(test)
    return f"{values['name']} by content, validation {validation!r}, test {share}, split_seed {seed}"


class PublicConfig(_InRole):
    """The public labelled set; of a source with a test split of its own, the train split.

    `limit_classes` keeps at most this many classes, the first ones in class order: for quick runs. With a `separator`
    a label holds several words (see `privimage.data.keywords`). Both came when other sets were in use, which are known
    by their description: where they say nothing they are no part of it.
    """

    role: ClassVar[SetRole] = "public"

    limit_classes: int | None = Field(default=None, ge=2)  # the first ones only: for quick runs
    separator: str | None = Field(
        default=None, min_length=1, max_length=10, exclude_if=is_null
    )  # between words of a label; null: it is one
    keywords: Annotated[tuple[Word, ...], Field(min_length=1), ONCE] | None = Field(
        default=None, exclude_if=is_null
    )  # the words that there may be, in order; null: all that there are

    @model_validator(mode="after")
    def _words(self) -> Self:
        if self.separator is None and self.keywords is not None:
            raise ValueError("keywords: are the words between separators; name a separator, or leave them out")
        for field in ("limit_classes", "classes") if self.separator is not None else ():
            if getattr(self, field, None) is not None:
                raise ValueError(f"{field}: with a separator classes are words; give those in keywords")
        return self

    @model_validator(mode="after")
    def _not_split(self) -> Self:
        if getattr(self, "test_root", None) is not None:
            raise ValueError("test_root is for a sensitive set; a public one is not split, remove it")
        return self


def where(config: SensitiveConfig | PublicConfig, *, test: bool = False) -> str:
    """Where the images of a source (with `test` those of its test split) lie, else its name: for messages."""
    places = ("test_root", *config.place) if test else config.place
    return next((str(getattr(config, name)) for name in places if getattr(config, name, None)), config.name)


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
