"""PrivImage with a diffusion model, and the rows the paper compares it with: two knobs on one pipeline.

    public images -> query function -> noisy histogram -> selection -> pre-training -> DP-SGD -> images

The knobs are what the generator is pre-trained on, and how it is fine-tuned (`presets`). Which stages there are, and
what determines each, is declared there too: the keys of all stages here are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from privimage import exhibit, semantics
from privimage.data.sets import PublicSet, SensitiveData
from privimage.dpsgd.finetune import FinetuneConfig, fine_tune
from privimage.finite import check_images
from privimage.generators import sampler, sizes
from privimage.generators.generator import FIT_IMAGES, Generator, SampleConfig
from privimage.generators.pretrain import PretrainConfig, pretrain
from privimage.generators.sampler import draw_images
from privimage.histogram import noisy_histogram, query_event, question_of
from privimage.methods.declared import Inputs, World, fields_of
from privimage.methods.presets import PRESETS, Preset, with_settings
from privimage.privacy.budget import Budget, Event
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Look, Seen
from privimage.privacy.noise import Noise
from privimage.schema import Frozen, digest
from privimage.semantics import QueryConfig, SelectConfig, Selection
from privimage.stages import Stages
from privimage.stores.manifest import PrivacyClass
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state


class ModelConfig(Frozen):
    """Which generator, by the name of its size."""

    size: str = sizes.DEFAULT

    @field_validator("size")
    @classmethod
    def _known(cls, size: str) -> str:
        if size not in sizes.DOOR.names():
            raise ValueError(f"allowed: {', '.join(sizes.DOOR.names())}")
        return size


class MethodConfig(Frozen):
    """Everything about how images are made, from the query to the sampler.

    A field that is not given has the value that its preset's settings name, else its default.
    """

    name: str = "privimage+d"
    query: QueryConfig = QueryConfig()
    select: SelectConfig = SelectConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    sample: SampleConfig = SampleConfig()
    samples: int = Field(default=2000, ge=10, le=1_000_000)  # all are in memory at once

    @model_validator(mode="before")
    @classmethod
    def _suited(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = values.get("name", cls.model_fields["name"].default)
        return with_settings(values, name) if isinstance(name, str) and name in PRESETS else values

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"allowed: {', '.join(PRESETS)}")
        return name

    @property
    def preset(self) -> Preset:
        """The two knobs."""
        return PRESETS[self.name]


@dataclass(frozen=True, kw_only=True, repr=False)
class Images:
    """Images uint8 [n, C, H, W] with labels, the events behind them, and what they are (real ones for `real`).

    `inputs` are those of the stages that made them, and of what follows.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    events: tuple[Event, ...]
    inputs: Inputs
    source: Literal["synthetic", "private-train"] = "synthetic"


def questions(config: MethodConfig, identity: Mapping[str, Any]) -> dict[str, float]:
    """The questions of this method that all trials share, each with the noise multiplier that this trial needs."""
    return {question_of(identity, config.query): config.query.sigma} if config.preset.queries else {}


def events(config: MethodConfig, budget: Budget, noise: Noise, *, identity: Mapping[str, Any]) -> tuple[Event, ...]:
    """What a trial of this method releases: the query at its own sigma_s, and DP-SGD with the noise that it takes."""
    finetune = config.finetune
    asked = tuple(query_event(sigma, question) for question, sigma in questions(config, identity).items())
    query = asked[0] if asked else None
    match config.preset.finetune:
        case "private":
            return (*asked, noise.dp_sgd(budget, q=finetune.q, steps=finetune.steps, query=query))
        case "nonprivate":
            return (*asked, Event(purpose="training", sigma=0, q=finetune.q, steps=finetune.steps, split="train"))
        case "none":
            return asked


def looks(config: MethodConfig) -> tuple[Look, ...]:
    """What a trial of this method reads of the training split without noise: one look a row, whatever its seeds."""
    if config.preset.finetune != "nonprivate":
        return ()
    return (Look(split="train", what=f"row {config.name}", settings=digest(config)),)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What pre-training sees: public images, labels of the sensitive set, weights (None: even)."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    weights: NDArray[np.float64] | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trial of the pipeline. `identity` is the public description of the data (never of its content).

    `paid` is what `events` says. `draw` names the trial where others may have the same configuration and must have
    noise of their own (a private selection); its own artefacts are then internal. `asked_sigma` is that of a trial.
    """

    config: MethodConfig
    paid: tuple[Event, ...]
    draw: dict[str, Any] | None
    seed: int
    asked_sigma: Mapping[str, float]
    public: PublicSet
    sensitive: SensitiveData
    identity: dict[str, Any]
    stages: Stages

    @cached_property
    def inputs(self) -> Inputs:
        """What determines the stages. Ratios that select equally many classes are one selection, so k2 stands there."""
        config, train = self.config, self.sensitive.train
        world: dict[World, Any] = {
            "public": self.identity["public"],
            "sensitive": self.identity["sensitive"],
            "shape": train.shape,
            "labels": len(train.classes),
            "asked": self._asked,
            "seed": self.seed,
            "draw": self.draw,
        }
        if config.preset.finetune != "none":
            world["training"] = self.paid[-1].model_dump()
        selects = config.preset.pretrain_on in ("selected", "random")
        fields = fields_of(config) | ({"select.ratio": self._k2} if selects else {})
        return Inputs(declaration=config.preset.declaration, fields=fields, world=world)

    def images(self) -> Images:
        """The synthetic images, with every stage before them computed or found."""
        if not self.config.preset.generates:
            return self._real()
        generator = sizes.build(
            self.config.model.size,
            shape=self.sensitive.train.shape,
            n_classes=len(self.sensitive.train.classes),
            seed=self.seed,
        )
        start = self._start()
        self._pretrain(generator, start)
        self._finetune(generator)
        self._fit(generator, start)
        return self._sample(generator)

    def _real(self) -> Images:
        """The sensitive training images as if they had been generated: what no method can beat; nothing is stored."""
        (event,) = self.paid
        for look in looks(self.config):
            self.stages.look(look)
        train = self.sensitive.train
        return Images(x=train.x, y=train.y, events=(event,), inputs=self.inputs, source="private-train")

    @property
    def _asked(self) -> float:
        """The noise multiplier at which the query is asked."""
        return self.asked_sigma.get(question_of(self.identity, self.config.query), self.config.query.sigma)

    @property
    def _k2(self) -> int:
        """How many public classes are selected for each label."""
        return self.config.select.k2(n_public=len(self.public.classes), n_labels=len(self.sensitive.train.classes))

    def histogram(self) -> NDArray[np.float64]:
        """The noisy histogram [labels, public classes] at the trial's own sigma_s: asked, found or derived."""
        return noisy_histogram(
            self.public,
            self.sensitive.train,
            query=self.config.query,
            asked_sigma=self._asked,
            inputs=self.inputs,
            stages=self.stages,
        )

    def _selection(self) -> Selection:
        """The selected public images."""
        query, k2 = self.config.query, self._k2
        S = self.histogram() if self.config.preset.queries else None

        def build(progress: Callable[[int, int], None]) -> Built:
            if S is None:
                n_labels = len(self.sensitive.train.classes)
                chosen = semantics.select_at_random(self.public, n_labels=n_labels, k2=k2, seed=self.seed)
                return Built(arrays=vars(chosen), privacy="public")
            chosen = semantics.select(S, self.public, k2=k2)
            own = (query_event(query.sigma, question_of(self.identity, query)),)
            shown = exhibit.arrays_of(chosen, S, self.public)
            names = exhibit.names_of(chosen, self.public, self.sensitive.train.classes)
            return Built(arrays=vars(chosen) | shown, privacy="released", events=own, meta=names)

        arrays = self.stages.public("selection", self.inputs.of("selection"), build).arrays
        return Selection(**{field.name: arrays[field.name] for field in fields(Selection)})

    def _start(self) -> Start:
        """What the generator is pre-trained on."""
        if self.config.preset.pretrain_on in ("selected", "random"):
            chosen = self._selection()
            return Start(x=self.public.x[chosen.index], y=chosen.label, weights=chosen.weight)
        null = len(self.sensitive.train.classes)  # the label that means "none": the public labels are of another kind
        return Start(x=self.public.x, y=np.full(len(self.public), null), weights=None)

    def _pretrain(self, generator: Generator, start: Start) -> None:
        """Load the starting weights into `generator`."""
        if self.config.preset.pretrain_on == "nothing":
            return
        inputs = self.inputs.of("pretrained")
        query = tuple(e for e in self.paid if e.shared is not None)

        def build(progress: Callable[[int, int], None]) -> Built:
            state = pretrain(
                generator,
                start.x,
                start.y,
                weights=start.weights,
                config=self.config.pretrain,
                seed=self.seed,
                workers=self.stages.workers,
                progress=progress,
                checkpoint=self.stages.checkpoint("pretrained", inputs),
            )
            return Built(arrays=numpy_state(state), privacy="released" if query else "public", events=query)

        artefact = self.stages.public("pretrained", inputs, build)
        generator.F.load_state_dict(torch_state(artefact.arrays))

    def _finetune(self, generator: Generator) -> None:
        """Load the fine-tuned weights into `generator`."""
        if self.config.preset.finetune == "none":
            return
        if self.config.preset.pretrain_on != "nothing" and self.config.sample.detail_below > 0:
            generator.keep_detail()
        event = self.paid[-1]
        inputs = self.inputs.of("generator")

        def build(entropy: Entropy, progress: Callable[[int, int], None], seen: Seen | None = None) -> Built:
            release = fine_tune(
                generator,
                self.sensitive.train,
                config=self.config.finetune,
                event=event,
                entropy=entropy,
                workers=self.stages.workers,
                progress=progress,
                checkpoint=self.stages.checkpoint("generator", inputs, entropy=entropy),
                seen=seen,
            )
            state = numpy_state(release.value.state)
            return Built(arrays=state, privacy=self._privacy, events=self.paid)

        if event.private:
            artefact = self.stages.private("generator", inputs, what=event.purpose, events=(event,), build=build)
        else:
            (look,) = looks(self.config)
            artefact = self.stages.unnoised("generator", inputs, look=look, build=build)
        generator.F.load_state_dict(torch_state(artefact.arrays))

    def _fit(self, generator: Generator, start: Start) -> None:
        """Fit what is not trained on public images, and store the whole model."""

        def build(progress: Callable[[int, int], None]) -> Built:
            rng = np.random.default_rng((self.seed, 4))
            public = start.x[rng.choice(len(start.x), size=FIT_IMAGES, p=start.weights)]
            sampler.fit(generator, public, config=self.config.sample, device=self.stages.workers.device)
            return Built(arrays=numpy_state(generator.state_dict()), privacy=self._privacy, events=self.paid)

        generator.load(torch_state(self.stages.public("model", self.inputs.of("model"), build).arrays))

    def _sample(self, generator: Generator) -> Images:
        def build(progress: Callable[[int, int], None]) -> Built:
            x, y = draw_images(
                generator,
                n=self.config.samples,
                config=self.config.sample,
                seed=self.seed,
                device=self.stages.workers.device,
                progress=progress,
            )
            check_images(x)
            meta = {"classes": list(self.sensitive.train.classes)}
            return Built(arrays={"x": x, "y": y}, privacy=self._privacy, events=self.paid, meta=meta)

        arrays = self.stages.public("samples", self.inputs.of("samples"), build).arrays
        return Images(x=arrays["x"], y=arrays["y"], events=self.paid, inputs=self.inputs)

    @property
    def _privacy(self) -> PrivacyClass:
        """The class of what this trial makes of its own: only the winner of a selection will be released."""
        if not self.paid:
            return "public"
        released = self.draw is None and all(event.private for event in self.paid)
        return "released" if released else "internal"
