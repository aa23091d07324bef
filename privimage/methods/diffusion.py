"""PrivImage with a diffusion model, and the rows that the paper compares it with: two knobs on one pipeline.

    public images -> query function -> noisy histogram -> selection -> pre-training -> DP-SGD -> images

The knobs are what the generator is pre-trained on, and how it is fine-tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

from privimage.errors import InputError
from privimage.generators import Shape, sizes
from privimage.generators.config import AS_BEFORE
from privimage.means.config import COUNTED
from privimage.means.config import STAGES as MEANS
from privimage.methods import in_vain
from privimage.methods.config import DiffusionConfig
from privimage.methods.context import Context
from privimage.methods.declared import Ask, Stage
from privimage.methods.method import Method, MethodConfig, MethodRole, Sizes, Synthetic
from privimage.methods.timing import Effort
from privimage.metrics.efficientnet import NAME, efficientnet_weights
from privimage.query import STAGES as QUERY
from privimage.query_files import check_function

ROUNDING = ("finetune.engine", "finetune.physical_batch")  # change the weights by rounding only: the same question
DRAWN = "lower method.finetune.lr, method.pretrain.lr, method.sample.guidance"  # where images are no images
LONG = {"pretrain.images": 480_000, "pretrain.ema": 0.9995}  # what a pool of many different images needs
ANCHORED = {"sample.start": "anchors", "sample.steps": 8}


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffusionMethod(Method):
    """A row of the paper's table, or a control beside it. Its settings were found on public data (docs/rivals.md)."""

    what: str
    pretrain_on: Literal["selected", "tilted", "random", "public", "central", "nothing"]
    finetune: Literal["private", "none", "nonprivate"] = "private"
    counted: bool = False  # whether means are met from the noisy histogram on, not from all public images alike
    widened: bool = False  # whether variations of the selected images are selected too
    role: MethodRole = "method"
    lacks: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    adversarial: ClassVar[bool] = False  # whether its generator learns from a discriminator
    without: ClassVar[tuple[str, ...]] = ("pretrain.follow", "finetune.follow")  # of training: of another family
    drawing: ClassVar[tuple[str, ...]] = ("sample",)
    undrawn: ClassVar[tuple[str, ...]] = ("sample.candidates",)  # of drawing: of another family
    config: ClassVar[type[MethodConfig]] = DiffusionConfig
    releases: ClassVar[tuple[str, ...]] = ("model", "samples", "selection", "tilted", "nearest")

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Up to the weights that fine-tuning starts from, the fine-tuned ones, the images."""
        return (*self._start(), *self._generator(), *self._images())

    def _start(self) -> tuple[Stage, ...]:
        selection = {
            "selected": (*QUERY, Stage(kind="selection", fields=("select.ratio",))),
            "tilted": (*QUERY, *COUNTED) if self.counted else MEANS,
            "random": (Stage(kind="selection", fields=("select.ratio",), world=("public", "labels", "seed")),),
        }
        pretrained = Stage(
            kind="pretrained",
            fields=("model.size", "pretrain", *(("pool",) if self.widened else ())),
            without=self.without,
            world=("public", "shape", "labels", "seed"),
            fix="lower method.pretrain.lr",
            share="pretrain",
        )
        return () if self.pretrain_on == "nothing" else (*selection.get(self.pretrain_on, ()), pretrained)

    def _generator(self) -> tuple[Stage, ...]:
        if self.finetune == "none":
            return ()
        private = self.finetune == "private"
        unused = (*ROUNDING, *self.without)
        scratch = ("public",) if self.pretrain_on == "nothing" else ()  # its codec follows from public images
        return (
            Stage(
                kind="generator",
                fields=("model.size", "finetune"),
                without=unused if private else (*unused, "finetune.C"),
                world=(*scratch, "sensitive", "shape", "labels", "seed", "draw"),
                fix="lower method.finetune.lr",
                share="finetune",
                asks=Ask(
                    purpose="dp-sgd" if private else "training", q="finetune.q", steps="finetune.steps",
                    sigma=None if private else 0,
                ),
            ),
        )  # fmt: skip

    def _images(self) -> tuple[Stage, ...]:
        """Post-processing. Public weights can draw the detail where there are some beside the fine-tuned ones.

        How near the images are to public ones is told where those were chosen for labels.
        """
        two = self.pretrain_on != "nothing" and self.finetune != "none"
        model = Stage(
            kind="model", fields=self.drawing, world=("public", "seed"), share="sample",
            without=self.undrawn if two else (*self.undrawn, "sample.detail_below"),
            since=AS_BEFORE,
            fix=f"{DRAWN} or method.sample.sigma_max",
        )  # fmt: skip
        samples = Stage(kind="samples", fields=("samples",), world=("seed",), fix=DRAWN, share="sample")
        return (model, samples, *((Stage(kind="nearest", share="sample"),) if self.labelled else ()))

    def images(self, context: Context) -> Synthetic:
        """See Method."""
        from privimage.methods.pipeline import Pipeline  # here, as it imports torch: what is declared needs none

        return Pipeline(self, context).images()

    def ask(self, context: Context) -> None:
        """See Method."""
        from privimage.methods.pipeline import Pipeline  # as above

        Pipeline(self, context).ask()

    def effort(self, shape: Shape, n: float, n_public: float) -> Effort:
        """See Method."""
        from privimage.methods.effort import DiffusionEffort  # as above

        return DiffusionEffort(shape, n, n_public)

    @property
    def selects(self) -> bool:
        """Whether the generator is pre-trained on a part of the public classes."""
        return self.pretrain_on in ("selected", "random")

    def anchored(self, config: DiffusionConfig) -> bool:
        """Whether images are drawn from public ones on."""
        return config.sample.start == "anchors" and self.declaration.uses("sample.start")

    @property
    def labelled(self) -> bool:
        """Whether public images are chosen for every label."""
        return self.pretrain_on in ("selected", "random", "tilted")

    @property
    def queries(self) -> bool:
        """Whether it asks the semantic query."""
        return self.pretrain_on == "selected" or self.counted

    def foreign(self, other: Method) -> tuple[str, ...]:
        """Networks of one kind are none of the other."""
        return () if getattr(other, "adversarial", self.adversarial) == self.adversarial else ("model.size",)

    def check(self, config: DiffusionConfig, of: Sizes) -> None:
        """Enough public classes, and public images of every label if images start from them."""
        if self.anchored(config) and not self.labelled:
            raise InputError(f"method.sample.start: anchors: {config.name} has no public images of a label; use noise")
        if self.selects:
            config.select.k2(n_public=of.n_public, n_labels=of.n_labels)
        if self.pretrain_on == "tilted" and of.n_public < 2:
            raise InputError(f"data.public: has {of.n_public} class; means are of features that tell classes apart")
        if self.pretrain_on == "tilted" and config.means.seen_by(of.shape[0] if of.shape else 1) == NAME:
            efficientnet_weights()  # or refused
        if self.queries and config.query.k1 > of.n_public:
            raise InputError(f"method.query.k1: got {config.query.k1}; there are only {of.n_public} public classes")
        if self.declaration.uses("query.function.steps"):
            check_function(config.query.function, of.classes)

    def check_shape(self, config: DiffusionConfig, shape: Shape) -> None:
        """The generator is of the kind that is trained here, fits the images, and has what is to be trained alone."""
        if sizes.adversarial(config.model.size) != self.adversarial:
            raise InputError(
                f"method.model.size: {config.name} cannot train {config.model.size}; take e.g. "
                f"{sizes.DEFAULTS[self.adversarial]}, or leave it out"
            )
        sizes.check(config.model.size, shape)
        sizes.check_sampler(config.model.size, shape, config.sample)
        if self.finetune != "none" and config.finetune.partial and not sizes.attends(config.model.size):
            field = "rank" if config.finetune.trainable == "all" else "trainable"
            fit = (name for name in sizes.DOOR.names() if sizes.adversarial(name) == self.adversarial)
            allowed = ", ".join(name for name in fit if sizes.attends(name))
            raise InputError(
                f"method.finetune.{field}: no part of {config.model.size} can be trained alone; leave trainable at "
                f"all and rank at null, or take one of {allowed}"
            )

    def warnings(self, configs: Sequence[DiffusionConfig], of: Sizes) -> list[str]:
        """See Method."""
        return [line for say in in_vain.SAID if (line := say(self, configs, of)) is not None]


MEMBERS = {
    "privimage+d": DiffusionMethod(pretrain_on="selected", what="PrivImage with a diffusion model"),
    "privimage+m": DiffusionMethod(
        pretrain_on="tilted",
        finetune="none",
        what="trained on public images that meet one noisy mean per label",
        settings=LONG,
    ),
    "privimage+a": DiffusionMethod(
        pretrain_on="tilted",
        finetune="none",
        what="the same, drawn from the public images that meet the noisy means",
        settings={**LONG, **ANCHORED},
    ),
    "privimage+qm": DiffusionMethod(
        pretrain_on="tilted",
        finetune="none",
        counted=True,
        what="the same, from the public classes on that a noisy histogram names",
        settings=LONG,
    ),
    "privimage+md": DiffusionMethod(
        pretrain_on="tilted",
        what="trained on public images that meet the noisy means, then fine-tuned",
        settings={**LONG, "means.sigma": 5.0},
    ),
    "selection+anchors": DiffusionMethod(
        pretrain_on="selected",
        finetune="none",
        widened=True,
        what="trained on the selected images and variations of them, and drawn from these",
        role="control",
        lacks={"privimage+a": "asking for means"},
        settings={**LONG, **ANCHORED},
    ),
    "pdp-diffusion": DiffusionMethod(
        pretrain_on="public",
        what="pre-trained on all public images",
        role="rival",
        settings={"sample.guidance": 0.0, "sample.detail_below": 0.0},
    ),
    "dpdm": DiffusionMethod(
        pretrain_on="nothing", what="DP-SGD from scratch", role="rival", settings={"sample.guidance": 0.0}
    ),
    "dp-ldm": DiffusionMethod(
        pretrain_on="public",
        what="pre-trained on all public images, of which DP-SGD trains attention and labels alone",
        role="rival",
        settings={"finetune.trainable": "attention", "sample.guidance": 0.0, "sample.detail_below": 0.0},
    ),
    "dp-lora": DiffusionMethod(
        pretrain_on="public",
        what="the same with adapters of low rank in the place of attention",
        role="rival",
        settings={
            "finetune.trainable": "attention",
            "finetune.rank": 4,
            "sample.guidance": 0.0,
            "sample.detail_below": 0.0,
        },
    ),
    "selection-only": DiffusionMethod(
        pretrain_on="selected",
        finetune="none",
        what="PrivImage without fine-tuning",
        role="ablation",
        lacks={"privimage+d": "fine-tuning"},
    ),
    "random-selection": DiffusionMethod(
        pretrain_on="random", what="random labelled classes in place of the query", role="control"
    ),
    "nonprivate-tune": DiffusionMethod(
        pretrain_on="selected",
        finetune="nonprivate",
        what="fine-tuned without noise or clipping",
        role="diagnostic",
        settings={
            "finetune.optimizer": "adam",
            "finetune.lr": 1e-3,
            "finetune.momentum": 0.9,
            "finetune.steps": 400,
            "finetune.K": 1,
            "sample.detail_below": 0.0,
        },
    ),
}
