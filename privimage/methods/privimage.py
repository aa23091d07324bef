"""PrivImage with a diffusion model, and the rows the paper compares it with: two knobs on one pipeline.

    public images -> query function -> noisy histogram -> selection -> pre-training -> DP-SGD -> images

The knobs are what the generator is pre-trained on, and how it is fine-tuned (`PRESETS`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator

from privimage import networks, semantics
from privimage.accounting import calibrate
from privimage.budget import Budget, Event
from privimage.data.sets import PublicSet, SensitiveData
from privimage.dpsgd.finetune import FinetuneConfig, fine_tune
from privimage.edm import SampleConfig, sample
from privimage.networks import Generator
from privimage.pretrain import PretrainConfig, pretrain
from privimage.schema import Frozen, digest
from privimage.semantics import QueryConfig, QueryFunction, SelectConfig, Selection
from privimage.stages import Stages
from privimage.store import Built


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A row of the paper's table, or a control beside it."""

    pretrain_on: Literal["selected", "random", "public", "nothing"]
    finetune: Literal["private", "none", "nonprivate"]
    what: str

    @property
    def queries(self) -> bool:
        """Whether the semantic query is asked."""
        return self.pretrain_on == "selected"


PRESETS: dict[str, Preset] = {
    "privimage+d": Preset(pretrain_on="selected", finetune="private", what="PrivImage with a diffusion model"),
    "pdp-diffusion": Preset(pretrain_on="public", finetune="private", what="pre-trained on all public images"),
    "dpdm": Preset(pretrain_on="nothing", finetune="private", what="DP-SGD from scratch"),
    "selection-only": Preset(pretrain_on="selected", finetune="none", what="PrivImage without fine-tuning"),
    "random-selection": Preset(
        pretrain_on="random", finetune="private", what="random labelled classes in place of the query"
    ),
    "nonprivate-tune": Preset(
        pretrain_on="selected", finetune="nonprivate", what="fine-tuned without noise or clipping"
    ),
    "real": Preset(pretrain_on="nothing", finetune="nonprivate", what="the sensitive training images themselves"),
}


class ModelConfig(Frozen):
    """Which generator, by the name of its size."""

    size: str = "dct-mlp-512"

    @field_validator("size")
    @classmethod
    def _known(cls, size: str) -> str:
        if size not in networks.SIZES:
            raise ValueError(f"allowed: {', '.join(networks.SIZES)}")
        return size


class MethodConfig(Frozen):
    """Everything about how images are made, from the query to the sampler."""

    name: str = "privimage+d"
    query: QueryConfig = QueryConfig()
    select: SelectConfig = SelectConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    sample: SampleConfig = SampleConfig()
    samples: int = Field(default=2000, ge=10)

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


@dataclass(frozen=True, kw_only=True)
class Images:
    """Synthetic images uint8 [n, C, H, W] with labels, and the events behind them."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    events: tuple[Event, ...]


def events(config: MethodConfig, budget: Budget) -> tuple[Event, ...]:
    """What a trial of this method releases: the query at its own sigma_s, and DP-SGD with the noise that fits."""
    query = (Event(purpose="query", sigma=config.query.sigma),) if config.preset.queries else ()
    match config.preset.finetune:
        case "private":
            return (
                *query,
                calibrate(budget=budget, q=config.finetune.q, steps=config.finetune.steps, others=query),
            )
        case "nonprivate":
            return (*query, Event(purpose="none", sigma=0, q=config.finetune.q, steps=config.finetune.steps))
        case "none":
            return query


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trial of the pipeline. `identity` is the public description of the data (never of its content)."""

    config: MethodConfig
    budget: Budget
    seed: int
    asked_sigma: float
    public: PublicSet
    sensitive: SensitiveData
    identity: dict[str, Any]
    stages: Stages

    def images(self) -> Images:
        """The synthetic images, with every stage before them computed or found."""
        if self.config.name == "real":
            return self._real()
        generator = networks.build(
            self.config.model.size,
            shape=self.sensitive.train.shape,
            n_classes=len(self.sensitive.train.classes),
            seed=self.seed,
        )
        paid = events(self.config, self.budget)
        start = self._pretrain(generator)
        final = self._finetune(generator, start, paid)
        return self._sample(generator, final, paid)

    def _real(self) -> Images:
        """The sensitive training images as if they had been generated: what no method can beat; nothing is stored."""
        (event,) = events(self.config, self.budget)
        what = "classifiers trained on real images WITHOUT privacy (a comparison row)"
        self.stages.diagnostic({"sensitive": self.identity["sensitive"], "row": "real"}, what=what, event=event)
        train = self.sensitive.train
        return Images(x=train.x, y=train.y, events=(event,))

    # -- the private query and what follows from it

    def _function(self) -> tuple[QueryFunction, str]:
        config, public = self.config.query.function, self.public
        device = self.stages.workers.device

        def build(progress: Callable[[int, int], None]) -> Built:
            state = semantics.train_query_function(public, config=config, seed=0, device=device, progress=progress)
            return Built(arrays=_numpy(state), privacy="public")

        artefact = self.stages.public(
            "query-function", query_inputs(self.identity, self.config.query)["function"], build
        )
        return QueryFunction.load(
            _torch(artefact.arrays), channels=public.shape[0], n_classes=len(public.classes), device=device
        ), artefact.manifest.key

    def _histogram(self) -> NDArray[np.float64]:
        function, _ = self._function()
        query = self.config.query
        event = Event(purpose="query", sigma=self.asked_sigma)
        inputs = query_inputs(self.identity, query) | {"sigma": self.asked_sigma}

        def ask(entropy: int, progress: Callable[[int, int], None]) -> Built:
            release = semantics.ask(function, self.sensitive.train, k1=query.k1, event=event, entropy=entropy)
            meta = {
                "paid": True,
                "sigma": self.asked_sigma,
                "k1": query.k1,
                "family": query_family(self.identity, query),
            }
            return Built(arrays={"histogram": release.value}, privacy="released", events=release.events, meta=meta)

        answer = self.stages.private(
            "histogram",
            inputs,
            what=f"semantic query, sigma_s {self.asked_sigma:g}",
            events=(event,),
            build=ask,
        )
        if query.sigma == self.asked_sigma:
            return answer.arrays["histogram"]

        def derive(progress: Callable[[int, int], None]) -> Built:
            name = f"derived-{answer.manifest.key}-{query.sigma!r}"
            wider = semantics.noisier(
                answer.arrays["histogram"],
                k1=query.k1,
                asked=self.asked_sigma,
                wanted=query.sigma,
                entropy=self.stages.workers.broadcast(self.stages.store.entropy(name)),
            )
            own = Event(purpose="query", sigma=query.sigma)
            return Built(arrays={"histogram": wider}, privacy="released", events=(own,))

        derived = self.stages.public("histogram-derived", inputs | {"wanted": query.sigma}, derive)
        return derived.arrays["histogram"]

    def _selection(self) -> tuple[Selection, dict[str, Any]]:
        n_labels = len(self.sensitive.train.classes)
        k2 = self.config.select.k2(n_public=len(self.public.classes), n_labels=n_labels)
        if self.config.preset.pretrain_on == "random":
            chosen = semantics.select_at_random(self.public, n_labels=n_labels, k2=k2, seed=self.seed)
            return chosen, {"random": self.seed, "k2": k2}
        histogram = self._histogram()
        inputs = query_inputs(self.identity, self.config.query) | {
            "asked": self.asked_sigma,
            "sigma": self.config.query.sigma,
            "k2": k2,
        }

        def build(progress: Callable[[int, int], None]) -> Built:
            chosen = semantics.select(histogram, self.public, k2=k2)
            event = Event(purpose="query", sigma=self.config.query.sigma)
            return Built(arrays=vars(chosen), privacy="released", events=(event,))

        arrays = self.stages.public("selection", inputs, build).arrays
        return Selection(**arrays), inputs

    # -- the generator

    def _pretrain(self, generator: Generator) -> dict[str, Any]:
        """Load the starting weights into `generator`; returns what determines them."""
        on = self.config.preset.pretrain_on
        inputs: dict[str, Any] = {
            "size": self.config.model.size,
            "seed": self.seed,
            "shape": self.sensitive.train.shape,
            "labels": len(self.sensitive.train.classes),
            "on": on,
        }
        if on == "nothing":
            return inputs
        if on == "public":
            x, y = self.public.x, np.full(len(self.public), generator.null)
            weights, source = None, {"public": self.identity["public"]}
        else:
            selection, source = self._selection()
            x, y, weights = self.public.x[selection.index], selection.label, selection.weight
        inputs |= {
            "source": source,
            "public": self.identity["public"],
            "pretrain": self.config.pretrain.model_dump(),
        }
        query = tuple(e for e in events(self.config, self.budget) if e.purpose == "query")

        def build(progress: Callable[[int, int], None]) -> Built:
            state = pretrain(
                generator,
                x,
                y,
                weights=weights,
                config=self.config.pretrain,
                seed=self.seed,
                workers=self.stages.workers,
                progress=progress,
            )
            return Built(arrays=_numpy(state), privacy="released" if query else "public", events=query)

        artefact = self.stages.public("pretrained", inputs, build)
        generator.F.load_state_dict(_torch(artefact.arrays))
        return inputs

    def _finetune(self, generator: Generator, start: dict[str, Any], paid: tuple[Event, ...]) -> dict[str, Any]:
        """Load the fine-tuned weights into `generator`; returns what determines them."""
        if self.config.preset.finetune == "none":
            return start
        event = paid[-1]
        inputs = {
            "start": start,
            "finetune": self.config.finetune.model_dump(exclude={"engine", "physical_batch"}),
            "event": event.model_dump(),
            "seed": self.seed,
            "sensitive": self.identity["sensitive"],
        }

        def build(entropy: int, progress: Callable[[int, int], None]) -> Built:
            release = fine_tune(
                generator,
                self.sensitive.train,
                config=self.config.finetune,
                event=event,
                entropy=entropy,
                seed=self.seed,
                workers=self.stages.workers,
                progress=progress,
            )
            privacy: Literal["released", "internal"] = "released" if release.private else "internal"
            return Built(arrays=_numpy(release.value.state), privacy=privacy, events=paid, meta={"paid": True})

        what = f"DP-SGD, sigma {event.sigma:.4g}" if event.private else "fine-tuning WITHOUT privacy (a comparison row)"
        artefact = self.stages.private("generator", inputs, what=what, events=(event,), build=build)
        generator.F.load_state_dict(_torch(artefact.arrays))
        return inputs

    def _sample(self, generator: Generator, final: dict[str, Any], paid: tuple[Event, ...]) -> Images:
        config = self.config

        def build(progress: Callable[[int, int], None]) -> Built:
            x, y = draw_images(
                generator,
                n=config.samples,
                shape=self.sensitive.train.shape,
                config=config.sample,
                seed=self.seed,
                device=self.stages.workers.device,
                progress=progress,
            )
            private = all(event.private for event in paid)
            return Built(arrays={"x": x, "y": y}, privacy="released" if private else "internal", events=paid)

        inputs = {
            "generator": final,
            "sample": config.sample.model_dump(),
            "n": config.samples,
            "seed": self.seed,
        }
        arrays = self.stages.public("samples", inputs, build).arrays
        return Images(x=arrays["x"], y=arrays["y"], events=paid)


def draw_images(
    generator: Generator,
    *,
    n: int,
    shape: networks.Shape,
    config: SampleConfig,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """n synthetic images uint8 [n, C, H, W] with labels 0, 1, 2, ... in turn; the same for the same seed."""
    generator = generator.to(device).eval()
    labels = torch.arange(n) % generator.n_classes
    rng = torch.Generator().manual_seed(seed)
    latent, images = generator.latent_shape(shape), []
    for label in labels.split(config.batch):
        noise = torch.randn((len(label), *latent), generator=rng).to(device)
        z = sample(
            generator.F,
            noise,
            label.to(device),
            null=generator.null,
            config=config,
            sigma_data=generator.edm.sigma_data,
        )
        images.append(generator.codec.decode(z).cpu())
        progress(sum(map(len, images)), n)
    return torch.cat(images).numpy(), labels.numpy()


def query_inputs(identity: dict[str, Any], query: QueryConfig) -> dict[str, Any]:
    """What determines an answer to the query, besides its noise multiplier."""
    function = {"public": identity["public"], "function": query.function.model_dump()}
    return {"function": function, "sensitive": identity["sensitive"], "k1": query.k1}


def query_family(identity: dict[str, Any], query: QueryConfig) -> str:
    """Digest shared by all answers to the same question at different noise."""
    return digest(query_inputs(identity, query))


def _numpy(state: dict[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.cpu().numpy() for name, tensor in state.items()}


def _torch(arrays: Any) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
