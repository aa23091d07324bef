"""The images of a trial: a generator trained to meet the noisy means, and what it draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from privimage.errors import InputError
from privimage.finite import check_images
from privimage.generators import Shape, sizes
from privimage.generators.config import SampleConfig
from privimage.generators.generator import OneStep
from privimage.generators.sampler import draw_images
from privimage.matching.features import Phi
from privimage.matching.fit import Opponent, match
from privimage.matching.pearl import Critic
from privimage.matching.stages import ASK
from privimage.methods.method import Synthetic
from privimage.progress import Tell
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state

if TYPE_CHECKING:
    from privimage.methods.context import Context
    from privimage.methods.matching import MatchingConfig


def images(kind: str, context: Context) -> Synthetic:
    """The synthetic images, with every stage before them computed or found. `kind` is that of the features."""
    config: MatchingConfig = context.config
    train, stages, inputs = context.sensitive.train, context.stages, context.inputs
    means, features = ASK[kind](context)
    generator = sizes.build(config.model.size, shape=train.shape, n_classes=len(train.classes), seed=context.seed)
    if not isinstance(generator, OneStep):
        raise InputError(f"method.model.size: {config.model.size} makes a {type(generator).__name__}, not a OneStep")

    def train_it(progress: Tell) -> Built:
        device, kept = stages.workers.device, stages.checkpoint("model", inputs.of("model"))
        state = match(
            generator, features, means, config=config.match, seed=context.seed, device=device, progress=progress,
            checkpoint=kept, critic=critic_of(features, config, train.shape, device=device),
        )  # fmt: skip
        generator.F.load_state_dict(state)
        return Built(arrays=numpy_state(generator.state_dict()), privacy=context.privacy, events=context.paid)

    def draw(progress: Tell) -> Built:
        x, y = draw_images(
            generator, n=config.samples, config=SampleConfig(), seed=context.seed, device=stages.workers.device,
            progress=progress,
        )  # fmt: skip
        check_images(x)
        meta = {"classes": list(train.classes)}
        return Built(arrays={"x": x, "y": y}, privacy=context.privacy, events=context.paid, meta=meta)

    generator.load(torch_state(stages.public("model", inputs.of("model"), train_it).arrays))
    made = stages.public("samples", inputs.of("samples"), draw).arrays
    return Synthetic(x=made["x"], y=made["y"], inputs=inputs)


def critic_of(features: Phi, config: MatchingConfig, shape: Shape, *, device: torch.device) -> Opponent | None:
    """The critic of the features, where the method has one."""
    critic = getattr(config, "critic", None)
    if critic is None:
        return None
    return Opponent(Critic(features.arrays["frequencies"], shape=shape).to(device), lr=critic.lr)
