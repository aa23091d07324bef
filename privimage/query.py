"""What a file says of the query and the selection, and the stages of the query; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from privimage import local
from privimage.errors import InputError
from privimage.field_types import spelt
from privimage.generators.config import Precision
from privimage.known_files import content_of_files
from privimage.local import LocalPath
from privimage.methods.declared import Stage
from privimage.schema import SAID, Frozen, Grown
from privimage.shared_answer import stages_of

QueryNetwork = Literal["cnn", "resnet18", "resnet34", "resnet50"]
FUNCTION = "query.function"
TRAINING = ("steps", "batch", "lr", "augment", "precision")  # what says nothing of weights that are read from a file


class SemanticsConfig(Grown):
    """The query function: a network, and how it is trained on the public set, or where its weights lie."""

    steps: int = Field(default=450, ge=1)  # steps of training the query function
    batch: int = Field(default=256, ge=2, le=100_000)  # images a step
    lr: float = Field(default=2e-3, gt=0)  # learning rate
    augment: StrictBool | Literal["mirror"] = True  # true: bent, thicker, thinner strokes; mirror: half mirrored
    network: QueryNetwork = "cnn"  # cnn is small; a resnet sees images of 32 pixels
    precision: Precision = "fp32"  # of activations in training; bf16 is for GPUs
    weights: LocalPath | None = None  # a file with a state dict of torchvision's network; null: it is trained here
    names: LocalPath | None = None  # a text file, the class of every output of these weights a line; null: as public
    digest: Annotated[str, spelt("[0-9a-f]{64}", use="64 hex digits")] | None = None  # of both files; filled in

    since: ClassVar[Mapping[str, Any]] = {
        "network": "cnn",
        "precision": "fp32",
        "weights": None,
        "names": None,
        "digest": None,
    }
    places: ClassVar[tuple[str, ...]] = ("weights", "names")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        """With the digest of its files, by which they are known from now on; without what says nothing of them."""
        if not isinstance(values, Mapping) or not isinstance(values.get("weights"), str):
            return values
        named = {name: values[name] for name in cls.places if isinstance(values.get(name), str)}
        if any(local.refusal(path) is not None for path in named.values()):
            return values  # for the fields to say
        files = {name: Path(path).expanduser().absolute() for name, path in named.items()}
        known = {name: value for name, value in values.items() if name not in TRAINING}
        known |= {name: str(path) for name, path in files.items()}
        if known.get("digest") is None:
            try:
                known["digest"] = content_of_files({f"method.{FUNCTION}.{name}": path for name, path in files.items()})
            except InputError as error:
                raise PydanticCustomError(SAID, "{why}", {"why": str(error)}) from None
        return known

    @model_validator(mode="after")
    def _of_a_file(self) -> Self:
        if self.weights is None and (self.names is not None or self.digest is not None):
            raise ValueError("names and digest are of a file of weights; name that in weights, or leave them out")
        if self.weights is not None and self.network == "cnn":
            raise ValueError("weights are of a network of torchvision; name it, e.g. network: resnet50")
        return self


QUERY_FUNCTION = Stage(
    kind="query-function",
    fields=(FUNCTION,),
    without=tuple(f"{FUNCTION}.{name}" for name in SemanticsConfig.places),  # the digest tells what lies there
    since={f"{FUNCTION}.{name}": value for name, value in SemanticsConfig.since.items()},
    world=("public",),
    fix=f"lower method.{FUNCTION}.lr",
    share="pretrain",
)
STAGES = (
    QUERY_FUNCTION,
    *stages_of("histogram", purpose="query", sigma="query.sigma", fields=("query.k1",), after=("query-function",)),
)


class QueryConfig(Frozen):
    """The private query: noise multiplier sigma_s and how many semantics an image names."""

    sigma: float = Field(
        default=5.0, ge=0.01, le=1e6
    )  # noise multiplier sigma_s of the counts; at 0.01 it costs epsilon 5,000
    k1: int = Field(default=1, ge=1)  # public classes that one sensitive image names
    function: SemanticsConfig = SemanticsConfig()


class SelectConfig(Frozen):
    """N: the share of the public classes that is selected, over all sensitive labels together."""

    ratio: float = Field(
        default=0.05, gt=0, le=1
    )  # N, the share of the public classes that is selected, over all labels; rounded for each

    def k2(self, *, n_public: int, n_labels: int) -> int:
        """Classes per sensitive label. Raises InputError if the ratio selects none.

        >>> SelectConfig(ratio=0.05).k2(n_public=1000, n_labels=10)
        5
        """
        k2 = min(round(self.ratio * n_public / n_labels), n_public // n_labels)
        if k2 < 1:
            least = n_labels / n_public
            raise InputError(
                f"method.select.ratio: got {self.ratio:g}, which selects no class for {n_labels} labels of "
                f"{n_public} public classes; use at least {least:.3g}"
            )
        return k2
