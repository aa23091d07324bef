"""Two questions that all trials share, neither after the other: how many images a label has, and their mean."""

from __future__ import annotations

import numpy as np

from privimage.methods.context import Context
from privimage.methods.declared import Stage
from privimage.methods.method import Method, MethodConfig, Synthetic
from privimage.privacy.budget import Release
from privimage.shared_answer import shared_answer, stages_of
from privimage.stores.store import Built


class TwoConfig(MethodConfig):
    """The noise of both."""

    counts: float | None = 4.0
    mean: float = 9.0


class Two(Method):
    """Its images are the mean, bright where it is above its own mean, as often for every label as it was counted."""

    what = "two shared answers"
    config = TwoConfig
    stages = (
        *stages_of("counts", purpose="label counts", sigma="counts", fields=(), after=()),
        *stages_of("mean", purpose="mean image", sigma="mean", fields=(), after=()),
        Stage(kind="samples", fields=("samples",), world=("seed",)),
    )

    def ask(self, context: Context) -> dict[str, np.ndarray]:
        """Both answers with the noise that the trial needs."""
        train = context.sensitive.train

        def counts() -> np.ndarray:
            return np.bincount(train.y, minlength=len(train.classes))

        def mean() -> np.ndarray:
            return sum((image > 127).astype(np.int64) for image in train.each())

        def answer(kind, exact, sensitivity):
            def asked(event, entropy):
                value = event.perturb(exact(), sensitivity=sensitivity, stream=entropy.stream(kind))
                return Release(value=value, events=(event,))

            return shared_answer(kind, context, sensitivity=sensitivity, ask=asked)[kind]

        size = float(np.prod(train.shape))
        return {"counts": answer("counts", counts, 1.0), "mean": answer("mean", mean, size**0.5)}

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        answers, n = self.ask(context), context.config.samples
        likely = answers["counts"].clip(min=1) / answers["counts"].clip(min=1).sum()
        bright = 255 * (answers["mean"] > answers["mean"].mean())

        def draw(progress):
            rng = np.random.default_rng(context.seed)
            y = rng.choice(len(likely), n, p=likely)
            x = (bright * rng.uniform(0.5, 1, (n, *bright.shape))).astype(np.uint8)
            return Built(arrays={"x": x, "y": y}, privacy=context.privacy, events=context.paid)

        made = context.stages.public("samples", context.inputs.of("samples"), draw).arrays
        return Synthetic(x=made["x"], y=made["y"], inputs=context.inputs)


two = Two()
