"""The pipeline of Private Evolution: every stage computed or found, from the public generator to the images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privimage.evolution.evolve import Evolution, seed_of
from privimage.evolution.votes import See, ask
from privimage.finite import check_images
from privimage.generators import sampler, sizes
from privimage.generators.config import SampleConfig
from privimage.generators.generator import FIT_IMAGES, Generator
from privimage.generators.pretrain import pretrain
from privimage.generators.sampler import draw_images
from privimage.histogram import query_function
from privimage.means.features import extractor
from privimage.methods.method import Synthetic
from privimage.privacy.entropy import Entropy
from privimage.progress import Tell
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state

if TYPE_CHECKING:
    from privimage.methods.context import Context
    from privimage.methods.evolution import EvolutionConfig

KEPT = 500  # winners of a label that drawing starts from


def images(context: Context) -> Synthetic:
    """The synthetic images, with every stage before them computed or found."""
    pipeline = EvolutionPipeline(context)
    generator = pipeline.generator()
    winners = pipeline.winners(generator)
    pipeline.load_model(generator, winners)
    return pipeline.drawn(generator)


@dataclass(frozen=True)
class EvolutionPipeline:
    """One trial of it."""

    context: Context

    @property
    def config(self) -> EvolutionConfig:
        """What the file says."""
        config: EvolutionConfig = self.context.config
        return config

    @cached_property
    def labels(self) -> int:
        """How many there are."""
        return len(self.context.sensitive.train.classes)

    @property
    def sampling(self) -> SampleConfig:
        """Drawing starts from images."""
        return self.config.sample.model_copy(update={"start": "anchors"})

    def generator(self) -> Generator:
        """The generator, trained on all public images. Their labels are drawn at random: it learns to heed none."""
        context = self.context
        public, stages, seed = context.public, context.stages, context.seed
        generator = sizes.build(
            self.config.model.size, shape=context.sensitive.train.shape, n_classes=self.labels, seed=seed,
            graphs=stages.workers.graphs,
        )  # fmt: skip
        y = np.random.default_rng((seed, 9)).integers(0, self.labels, len(public))
        inputs = context.inputs.of("public-generator")

        def build(progress: Tell) -> Built:
            state = pretrain(
                generator, public.rows, y, weights=None, config=self.config.pretrain, seed=seed,
                workers=stages.workers, progress=progress, checkpoint=stages.checkpoint("public-generator", inputs),
            )  # fmt: skip
            return Built(arrays=numpy_state(state), privacy="public")

        trained = stages.public("public-generator", inputs, build)
        generator.load_pretrained(torch_state(trained.arrays))
        return generator

    def winners(self, generator: Generator) -> NDArray[np.uint8]:
        """KEPT images uint8 [labels, KEPT, C, H, W] drawn from the last candidates by their noisy votes."""
        context, event = self.context, self.context.events["votes"]
        stages, inputs = context.stages, context.inputs.of("votes")
        evolution = Evolution(
            generator=generator, see=self._see(), config=self.config.evolve, sample=self.sampling, sigma=event.sigma,
            seed=context.seed, device=stages.workers.device, images=self._candidates(generator)[None],
        )  # fmt: skip

        def build(entropy: Entropy, progress: Tell) -> Built:
            release = ask(
                evolution.see, context.sensitive.train, evolution.propose, event=event, entropy=entropy,
                progress=progress,
            )  # fmt: skip
            arrays: dict[str, NDArray[Any]] = {"x": evolution.images, "votes": release.value[-1]}
            return Built(arrays=arrays, privacy=context.privacy, events=release.events)

        last = stages.private("votes", inputs, what=event.purpose, events=(event,), build=build).arrays
        evolution.images = last["x"]
        return evolution.chosen(last["votes"], n=KEPT, number=event.steps)

    def _candidates(self, generator: Generator) -> NDArray[np.uint8]:
        """Those of the first round, uint8 [N, C, H, W]: images that the public generator draws from noise.

        `generator` holds afterwards what is fitted for that.
        """
        context = self.context
        sampling = self.sampling.model_copy(update={"start": "noise"})

        def build(progress: Tell) -> Built:
            self._fit(generator, sampling)
            x, _ = draw_images(
                generator, n=self.config.evolve.first, config=sampling, seed=seed_of(context.seed, 0),
                device=context.stages.workers.device, progress=progress,
            )  # fmt: skip
            check_images(x)
            return Built(arrays={"x": x, **numpy_state(generator.codec.state_dict())}, privacy="public")

        found = dict(context.stages.public("candidates", context.inputs.of("candidates"), build).arrays)
        x: NDArray[np.uint8] = found.pop("x")
        generator.codec.load_state_dict(torch_state(found))
        return x

    def _see(self) -> See:
        """What sees features in images."""
        context, function = self.context, None
        if self.config.evolve.seen_by(context.public.shape[0]) == "query":
            function = query_function(
                context.public, query=self.config.query, inputs=context.inputs, stages=context.stages
            )
        see = extractor(function, device=context.stages.workers.device)
        return lambda x: see(x)[0]

    def _fit(self, generator: Generator, config: SampleConfig) -> None:
        """Fit what is not trained on public images."""
        rng = np.random.default_rng((self.context.seed, 4))
        public = self.context.public.rows(rng.choice(len(self.context.public), size=FIT_IMAGES))
        sampler.fit(generator, public, config=config, device=self.context.stages.workers.device)

    def load_model(self, generator: Generator, winners: NDArray[np.uint8]) -> None:
        """Load into `generator` what draws variations of the winners."""
        context = self.context

        def build(progress: Tell) -> Built:
            y = np.arange(self.labels).repeat(winners.shape[1])
            generator.keep_anchors(winners.reshape(-1, *winners.shape[2:]), y)
            self._fit(generator, self.sampling)
            return Built(arrays=numpy_state(generator.state_dict()), privacy=context.privacy, events=context.paid)

        generator.load(torch_state(context.stages.public("model", context.inputs.of("model"), build).arrays))

    def drawn(self, generator: Generator) -> Synthetic:
        """The images."""
        context, config = self.context, self.config

        def build(progress: Tell) -> Built:
            x, y = draw_images(
                generator, n=config.samples, config=self.sampling, seed=context.seed,
                device=context.stages.workers.device, progress=progress,
            )  # fmt: skip
            check_images(x)
            meta = {"classes": list(context.sensitive.train.classes)}
            return Built(arrays={"x": x, "y": y}, privacy=context.privacy, events=context.paid, meta=meta)

        made = context.stages.public("samples", context.inputs.of("samples"), build).arrays
        return Synthetic(x=made["x"], y=made["y"], inputs=context.inputs)
