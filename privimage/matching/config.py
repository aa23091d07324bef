"""What a file says of a noisy mean embedding and of the generator that is trained to meet it; free of torch."""

from __future__ import annotations

from pydantic import Field

from privimage.methods.declared import Stage
from privimage.query import QUERY_FUNCTION
from privimage.schema import Frozen
from privimage.shared_answer import stages_of


class FourierConfig(Frozen):
    """Random Fourier features of pixels, whose products are in expectation a Gaussian kernel."""

    features: int = Field(default=2000, ge=2, le=200_000, multiple_of=2)  # a cosine and a sine of each frequency
    length: float = Field(
        default=0.37, gt=0, le=100
    )  # length of the Gaussian kernel: a root mean square difference of pixels in [0, 1]


class CentralConfig(Frozen):
    """The noisy mean image of every label."""

    sigma: float = Field(default=10.0, ge=0.01, le=1e6)  # noise multiplier of the mean images
    clip: float = Field(default=0.35, gt=0, le=1)  # root mean square of the pixels of an image, in [0, 1], at most


class NtkConfig(Frozen):
    """The fixed network whose gradient at an image is asked."""

    width: int = Field(
        default=20, ge=1, le=10_000
    )  # units of its hidden layer; each has as many features as an image has pixels, and two


class CharacteristicConfig(Frozen):
    """The frequencies of a characteristic function, and the critic that weighs them."""

    features: int = Field(default=2000, ge=2, le=200_000, multiple_of=2)  # a cosine and a sine of each frequency
    length: float = Field(
        default=0.2, gt=0, le=100
    )  # length of the Gaussian kernel of a median frequency: a root mean square difference of pixels in [0, 1]
    spread: float = Field(default=0.5, ge=0, le=3)  # standard deviation of the logarithm of the length of frequencies


class CriticConfig(Frozen):
    """How the critic is trained."""

    lr: float = Field(default=0.02, ge=0)  # learning rate; 0: all frequencies weigh the same


class MatchConfig(Frozen):
    """How the generator is trained to meet the noisy means."""

    steps: int = Field(default=400, ge=1)  # steps of training the generator
    batch: int = Field(default=200, ge=4, le=100_000)  # images a step, of all labels together
    lr: float = Field(default=2e-3, gt=0)  # learning rate
    ema: float = Field(default=0.99, ge=0, lt=1)  # decay of the moving average of the weights


class KernelConfig(Frozen):
    """The kernel, and how a generator is trained to meet noisy mean embeddings of batches."""

    q: float = Field(default=0.25, ge=1e-9, le=1)  # share of the images in a batch, each drawn by itself
    steps: int = Field(default=300, ge=1, le=10**8)  # steps of training: more need more noise
    features: int = Field(
        default=1000, ge=2, le=200_000, multiple_of=2
    )  # random features of a step: a cosine and a sine of each frequency
    length: float = Field(
        default=0.37, gt=0, le=100
    )  # length of the Gaussian kernel: a root mean square difference of pixels in [0, 1]
    batch: int = Field(default=200, ge=4, le=100_000)  # images that are generated a step, of all labels together
    lr: float = Field(default=2e-3, gt=0)  # learning rate
    ema: float = Field(default=0.99, ge=0, lt=1)  # decay of the moving average of the weights


class SanitizedConfig(Frozen):
    """The discriminators, and how a generator learns from their sanitized gradients."""

    parts: int = Field(
        default=1000, ge=2, le=10**6
    )  # parts that the images are put into, each with a discriminator of its own
    steps: int = Field(default=120, ge=1, le=10**8)  # steps of the generator: more need more noise
    batch: int = Field(default=60, ge=4, le=100_000)  # images that are generated a step, of all labels together
    clip: float = Field(default=0.25, gt=0, le=1e6)  # root mean square gradient of a generated image, at most
    lr: float = Field(default=5e-4, gt=0)  # learning rate of the generator
    ema: float = Field(default=0.99, ge=0, lt=1)  # decay of the moving average of the weights of the generator
    apart: float = Field(default=1.0, ge=0)  # weight of a difference between two images of a label
    rounds: int = Field(default=2, ge=1, le=10_000)  # updates of every discriminator before each later step
    warm: int = Field(
        default=20, ge=0, le=10**6
    )  # updates of every discriminator before the first step of the generator
    seen: int = Field(default=3, ge=1, le=10_000)  # images of its part that a discriminator sees in an update
    width: int = Field(default=32, ge=1, le=10_000)  # width of the layers of a discriminator
    critic_lr: float = Field(default=3e-3, gt=0)  # learning rate of discriminators


ASKED: dict[str, tuple[Stage, ...]] = {  # by the features, the stages up to what is asked
    "fourier": stages_of("embedding", purpose="mean embedding", sigma="means.sigma", fields=("fourier",), after=()),
    "ntk": stages_of("embedding", purpose="mean embedding", sigma="means.sigma", fields=("ntk",), after=()),
    "characteristic": stages_of(
        "embedding", purpose="characteristic function", sigma="means.sigma", fields=("characteristic",), after=()
    ),
    "perceptual": (
        QUERY_FUNCTION,
        Stage(kind="layers", fields=("means.network", "moments"), world=("public",), after=("query-function",)),
        *stages_of("embedding", purpose="mean embedding", sigma="means.sigma", fields=(), after=("layers",)),
    ),
}
CENTRAL = stages_of("central", purpose="central images", sigma="central.sigma", fields=("central.clip",), after=())
