"""The pipeline of a diffusion method: every stage computed or found, from the query to the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privimage import exhibit, nearest, semantics
from privimage.data.keywords import semantics_of
from privimage.data.sets import Chosen, Images, Pictures
from privimage.data.views import Views
from privimage.dpsgd.finetune import fine_tune
from privimage.finite import check_images
from privimage.generators import sampler, sizes
from privimage.generators.anchors import spread
from privimage.generators.generator import FIT_IMAGES, Generator
from privimage.generators.pretrain import pretrain
from privimage.generators.sampler import draw_images
from privimage.histogram import noisy_histogram, query_function
from privimage.means.base import base_weights
from privimage.means.stages import Pool, noisy_means, tilted
from privimage.methods.context import Context
from privimage.methods.method import Synthetic
from privimage.privacy.entropy import Entropy
from privimage.privacy.looks import Seen
from privimage.progress import Tell
from privimage.semantics import Selection
from privimage.stores.store import Built
from privimage.stores.tensors import numpy_state, torch_state

if TYPE_CHECKING:
    from privimage.methods.config import DiffusionConfig
    from privimage.methods.diffusion import DiffusionMethod


@dataclass(frozen=True, kw_only=True)
class Start:
    """What pre-training sees: public images, labels of the sensitive set, weights (None: even)."""

    x: Pictures
    y: NDArray[np.int64]
    weights: NDArray[np.float64] | None


class Pipeline:
    """One trial of it. Ratios that select equally many classes are one selection: in keys, k2 stands for the ratio."""

    def __init__(self, method: DiffusionMethod, context: Context) -> None:
        config: DiffusionConfig = context.config
        if method.selects:
            n_public, n_labels = len(context.public.classes), len(context.sensitive.train.classes)
            self._k2 = config.select.k2(n_public=n_public, n_labels=n_labels)
            context = replace(context, fields={"select.ratio": self._k2})
        self.method, self.config, self.context = method, config, context
        self.public, self.sensitive, self.stages = context.public, context.sensitive, context.stages
        self.seed, self.paid, self.inputs = context.seed, context.paid, context.inputs

    def images(self) -> Synthetic:
        """The synthetic images, with every stage before them computed or found."""
        generator = sizes.build(
            self.config.model.size,
            shape=self.sensitive.train.shape,
            n_classes=len(self.sensitive.train.classes),
            seed=self.seed,
            graphs=self.stages.workers.graphs,
        )
        start = self._start()
        self._pretrain(generator, start)
        self._finetune(generator)
        self._fit(generator, start)
        made = self._sample(generator)
        if self.method.labelled:
            self._nearest(made, start)
        return made

    def ask(self) -> None:
        """Ask what all trials share."""
        if self.method.queries:
            self.histogram()
        if self.method.pretrain_on == "tilted":
            noisy_means(self._pool(), self.context)

    def _pool(self) -> Pool:
        """The public images and variations of them that images are chosen from."""
        return Pool(self.config.means, self.config.pool, self.config.query, self.context)

    def histogram(self) -> NDArray[np.float64]:
        """The noisy histogram [labels, public classes] at the trial's own sigma_s: asked, found or derived."""
        return noisy_histogram(
            self.public,
            self.sensitive.train,
            query=self.config.query,
            context=self.context,
        )

    def _query(self, x: NDArray[np.uint8] | Images, k1: int) -> NDArray[np.int64]:
        """What the query function sees in images, for metrics: on the first worker."""
        found = query_function(self.public, query=self.config.query, inputs=self.inputs, stages=self.stages, alone=True)
        return found.top(x, k1=k1) if isinstance(x, Images) else found.of(x, k1=k1)

    def _selection(self) -> Selection:
        """The selected public images."""
        k2 = self._k2
        S = self.histogram() if self.method.queries else None

        def build(progress: Tell) -> Built:
            if S is None:
                n_labels = len(self.sensitive.train.classes)
                chosen = semantics.select_at_random(self.public, n_labels=n_labels, k2=k2, seed=self.seed)
                return Built(arrays=vars(chosen), privacy="public")
            chosen = semantics.select(S, self.public, k2=k2)
            own = (self.context.events["histogram"],)
            shown = exhibit.arrays_of(chosen, S, self.public)
            names = exhibit.names_of(chosen, self.public, self.sensitive.train.classes)
            return Built(arrays=vars(chosen) | shown, privacy="released", events=own, meta=names)

        arrays = self.stages.public("selection", self.inputs.of("selection"), build).arrays
        return Selection(**{field.name: arrays[field.name] for field in fields(Selection)})

    def _start(self) -> Start:
        """What the generator is pre-trained on."""
        if self.method.selects:
            chosen = self._selection()
            if self.method.widened:
                return _widened(chosen, Views.of(self.public, self.config.pool))
            return Start(x=Chosen(of=self.public, index=chosen.index), y=chosen.label, weights=chosen.weight)
        if self.method.pretrain_on == "tilted":
            pool = self._pool()
            met = tilted(pool, self.context, base=self._base(pool.views) if self.method.counted else None)
            return Start(x=pool.views.held(met.index), y=met.label, weights=met.weight)
        null = len(self.sensitive.train.classes)  # the label that means "none": the public labels are of another kind
        return Start(x=self.public, y=np.full(len(self.public), null), weights=None)

    def _base(self, views: Views) -> Callable[[int], NDArray[np.float64]]:
        """What the noisy histogram says of all views, for a label."""
        noise = self.context.events["histogram"].sigma * self.config.query.k1**0.5
        S = self.histogram()
        return lambda y: base_weights(S[y], *semantics_of(self.public), noise=noise, views=views.count)

    def _pretrain(self, generator: Generator, start: Start) -> None:
        """Load the starting weights into `generator`; without any, only its codec learns what images are like."""
        if self.method.pretrain_on == "nothing":
            seen = np.random.default_rng((self.seed, 12)).choice(len(self.public), size=FIT_IMAGES)
            generator.codec.adapt(self.public.rows(seen))
            return
        inputs = self.inputs.of("pretrained")
        query = tuple(e for e in self.paid if e.shared is not None)

        def build(progress: Tell) -> Built:
            state = pretrain(
                generator,
                start.x.rows,
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
        generator.load_pretrained(torch_state(artefact.arrays))

    def _finetune(self, generator: Generator) -> None:
        """Load the fine-tuned weights into `generator`."""
        if self.method.finetune == "none":
            return
        if self.method.pretrain_on != "nothing" and self.config.sample.detail_below > 0:
            generator.keep_detail()
        event = self.context.events["generator"]
        inputs = self.inputs.of("generator")

        def build(entropy: Entropy, progress: Tell, seen: Seen | None = None) -> Built:
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
            return Built(arrays=state, privacy=self.context.privacy, events=self.paid)

        if event.private:
            artefact = self.stages.private("generator", inputs, what=event.purpose, events=(event,), build=build)
        else:
            (look,) = self.method.looks(self.config)
            artefact = self.stages.unnoised("generator", inputs, look=look, build=build)
        generator.learned.load_state_dict(torch_state(artefact.arrays))

    def _fit(self, generator: Generator, start: Start) -> None:
        """Fit what is not trained on public images, and store the whole model."""

        def build(progress: Tell) -> Built:
            rng = np.random.default_rng((self.seed, 4))
            public = start.x.rows(rng.choice(len(start.y), size=FIT_IMAGES, p=start.weights))
            if self.method.anchored(self.config):
                kept = spread(start.y, start.weights, seed=self.seed)
                generator.keep_anchors(start.x.rows(kept), start.y[kept])
            sampler.fit(generator, public, config=self.config.sample, device=self.stages.workers.device)
            return Built(arrays=numpy_state(generator.state_dict()), privacy=self.context.privacy, events=self.paid)

        generator.load(torch_state(self.stages.public("model", self.inputs.of("model"), build).arrays))

    def _sample(self, generator: Generator) -> Synthetic:
        def build(progress: Tell) -> Built:
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
            return Built(arrays={"x": x, "y": y}, privacy=self.context.privacy, events=self.paid, meta=meta)

        arrays = self.stages.public("samples", self.inputs.of("samples"), build).arrays
        query = self._query if self.method.shares else None  # what shares an answer has one
        return Synthetic(x=arrays["x"], y=arrays["y"], inputs=self.inputs, query=query)

    def _nearest(self, made: Synthetic, start: Start) -> None:
        """How near the images are to public ones that were chosen for a label: to be seen, nothing follows from it."""

        def build(progress: Tell) -> Built:
            found = nearest.arrays_of(
                made.x,
                made.y,
                nearest.Candidates.of(start.x, start.y, start.weights),
                device=self.stages.workers.device,
                progress=progress,
            )
            meta = {"public": self.public.name}
            return Built(arrays=found, privacy=self.context.privacy, events=self.paid, meta=meta)

        self.stages.public("nearest", self.inputs.of("nearest"), build)


def _widened(chosen: Selection, views: Views) -> Start:
    """The selected images and all variations of them, each view with the weight of its image."""
    V, n = views.count, len(views.public)
    index = (np.arange(V)[:, None] * n + chosen.index).ravel()
    return Start(x=views.held(index), y=np.tile(chosen.label, V), weights=np.tile(chosen.weight / V, V))
