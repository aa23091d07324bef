"""What a file says of the query and the selection, and the stages of the query; free of torch."""

from __future__ import annotations

from pydantic import Field

from privimage.errors import InputError
from privimage.methods.declared import Stage
from privimage.schema import Frozen
from privimage.shared_answer import stages_of

QUERY_FUNCTION = Stage(
    kind="query-function", fields=("query.function",), world=("public",), fix="lower method.query.function.lr"
)
STAGES = (
    QUERY_FUNCTION,
    *stages_of("histogram", purpose="query", sigma="query.sigma", fields=("query.k1",), after=("query-function",)),
)


class SemanticsConfig(Frozen):
    """How the query function is trained on the public set."""

    steps: int = Field(default=450, ge=1)  # of its training
    batch: int = Field(default=256, ge=2, le=100_000)  # images a step
    lr: float = Field(default=2e-3, gt=0)  # learning rate
    augment: bool = True  # affine, elastic and stroke-width changes: for glyphs and handwriting


class QueryConfig(Frozen):
    """The private query: noise multiplier sigma_s and how many semantics an image names."""

    sigma: float = Field(default=5.0, ge=0.01, le=1e6)  # of the noise: sigma_s; at 0.01 it costs epsilon 5,000
    k1: int = Field(default=1, ge=1)  # public classes that one image names
    function: SemanticsConfig = SemanticsConfig()


class SelectConfig(Frozen):
    """N: the share of the public classes that is selected, over all sensitive labels together."""

    ratio: float = Field(default=0.05, gt=0, le=1)  # N

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
