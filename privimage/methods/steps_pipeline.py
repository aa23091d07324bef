"""The images of a trial whose generator asks in every step of its training: DP-Kernel, GS-WGAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from privimage.errors import InputError
from privimage.finite import check_images
from privimage.generators import sizes
from privimage.generators.config import SampleConfig
from privimage.generators.generator import OneStep
from privimage.generators.sampler import draw_images
from privimage.methods.method import Synthetic
from privimage.privacy.budget import Release
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state

if TYPE_CHECKING:
    from privimage.methods.context import Context

Train = Callable[[OneStep, Entropy, Tell], Release[dict[str, Tensor]]]  # the weights of F after training


def images(context: Context, train: Train) -> Synthetic:
    """The synthetic images, with every stage before them computed or found."""
    config = context.config
    data, stages, inputs, event = context.sensitive.train, context.stages, context.inputs, context.events["generator"]
    generator = sizes.build(config.model.size, shape=data.shape, n_classes=len(data.classes), seed=context.seed)
    if not isinstance(generator, OneStep):
        raise InputError(f"method.model.size: {config.model.size} makes a {type(generator).__name__}, not a OneStep")
    device = stages.workers.device

    def train_it(entropy: Entropy, progress: Tell) -> Built:
        release = train(generator, entropy, progress)
        return Built(arrays=numpy_state(release.value), privacy=context.privacy, events=release.events)

    def hold(progress: Tell) -> Built:
        return Built(arrays=numpy_state(generator.state_dict()), privacy=context.privacy, events=context.paid)

    def draw(progress: Tell) -> Built:
        settings = SampleConfig()
        x, y = draw_images(
            generator, n=config.samples, config=settings, seed=context.seed, device=device, progress=progress
        )
        check_images(x)
        meta = {"classes": list(data.classes)}
        return Built(arrays={"x": x, "y": y}, privacy=context.privacy, events=context.paid, meta=meta)

    own = inputs.of("generator")
    trained = stages.private("generator", own, what=event.purpose, events=(event,), build=train_it)
    generator.F.load_state_dict(torch_state(trained.arrays))
    generator.load(torch_state(stages.public("model", inputs.of("model"), hold).arrays))
    made = stages.public("samples", inputs.of("samples"), draw).arrays
    return Synthetic(x=made["x"], y=made["y"], inputs=inputs)
