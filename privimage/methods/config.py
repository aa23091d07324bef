"""What a file says of a diffusion method; free of torch."""

from __future__ import annotations

from pydantic import Field, field_validator

from privimage.data.pool import PoolConfig
from privimage.dpsgd.config import FinetuneConfig
from privimage.field_types import one_of
from privimage.generators import sizes
from privimage.generators.config import PretrainConfig, SampleConfig
from privimage.means.config import MeansConfig
from privimage.methods.method import DEFAULT, MethodConfig
from privimage.methods.resolve import by_channels, unread
from privimage.query import QueryConfig, SelectConfig
from privimage.schema import Frozen


class ModelConfig(Frozen):
    """Which generator, by the name of its size."""

    size: str = Field(
        default=sizes.DEFAULT, json_schema_extra=one_of(sizes.DOOR.names)
    )  # the generator, by the name of its size

    @field_validator("size")
    @classmethod
    def _known(cls, size: str) -> str:
        if size not in sizes.DOOR.names():
            raise ValueError(f"allowed: {', '.join(sizes.DOOR.names())}")
        return size


class DiffusionConfig(MethodConfig):
    """Everything about how images are made, from the query to the sampler."""

    name: str = DEFAULT
    query: QueryConfig = QueryConfig()
    means: MeansConfig = MeansConfig()
    pool: PoolConfig = PoolConfig()
    select: SelectConfig = SelectConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    sample: SampleConfig = SampleConfig()

    def settled(self, channels: int | None) -> MethodConfig:
        """See MethodConfig: whose features are taken, and how images are varied."""
        rules = {"means.network": self.means.seen_by, "pool.vary": self.pool.kind}
        return unread(by_channels(self, rules, channels), network="means.network")
