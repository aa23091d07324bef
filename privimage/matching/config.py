"""What a file says of a noisy mean embedding and of the generator that is trained to meet it; free of torch."""

from __future__ import annotations

from pydantic import Field

from privimage.methods.declared import Stage
from privimage.query import QUERY_FUNCTION
from privimage.schema import Frozen
from privimage.shared_answer import stages_of


class FourierConfig(Frozen):
    """Random Fourier features of pixels: those of a Gaussian kernel, in expectation."""

    features: int = Field(default=2000, ge=2, le=200_000, multiple_of=2)  # a cosine and a sine of each frequency
    length: float = Field(default=0.37, gt=0, le=100)  # of the kernel: root mean square difference of pixels in [0, 1]


class MatchConfig(Frozen):
    """How the generator is trained to meet the noisy means."""

    steps: int = Field(default=400, ge=1)  # of its training
    batch: int = Field(default=200, ge=4, le=100_000)  # images a step, of all labels together
    lr: float = Field(default=2e-3, gt=0)  # learning rate
    ema: float = Field(default=0.99, ge=0, lt=1)  # decay of the moving average of the weights


ASKED: dict[str, tuple[Stage, ...]] = {  # by the features, the stages up to what is asked
    "fourier": stages_of("embedding", purpose="mean embedding", sigma="means.sigma", fields=("fourier",), after=()),
    "perceptual": (
        QUERY_FUNCTION,
        Stage(kind="layers", fields=("means.network", "moments"), world=("public",), after=("query-function",)),
        *stages_of("embedding", purpose="mean embedding", sigma="means.sigma", fields=(), after=("layers",)),
    ),
}
