"""The rows of the paper's table and the controls beside them: two knobs, the settings that suit each, its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from privimage.methods.declared import Declaration, Stage
from privimage.schema import set_dotted

QUERY = (
    Stage(kind="query-function", fields=("query.function",), world=("public",)),
    Stage(kind="histogram", fields=("query.k1",), world=("sensitive", "asked"), asks="train"),
    Stage(kind="histogram-derived", fields=("query.sigma",)),  # skipped where it is the noise that was asked
)
ROUNDING = ("finetune.engine", "finetune.physical_batch")  # change the weights by rounding only: the same question


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A row of the paper's table, or a control beside it.

    `settings` are dotted fields of the method with values that suit this preset, found on public data (docs/rivals.md).
    They take the place of the fields' defaults: see `with_settings`, and `Row` of a sweep.
    """

    pretrain_on: Literal["selected", "random", "public", "nothing"]
    finetune: Literal["private", "none", "nonprivate"]
    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    generates: bool = True  # else the sensitive images themselves are what is measured

    @property
    def queries(self) -> bool:
        """Whether the semantic query is asked."""
        return self.pretrain_on == "selected"

    @property
    def private(self) -> bool:
        """Whether its trials have a guarantee. What has none is a comparison row: a search would learn from it."""
        return self.finetune != "nonprivate"

    @cached_property
    def declaration(self) -> Declaration:
        """The stages that this preset goes through, with what determines each."""
        if not self.generates:
            return Declaration(stages=())
        return Declaration(stages=(*self._start(), *self._generator(), *self._images()))

    def _start(self) -> tuple[Stage, ...]:
        """Up to the weights that fine-tuning starts from."""
        selection = {
            "selected": (*QUERY, Stage(kind="selection", fields=("select.ratio",))),
            "random": (Stage(kind="selection", fields=("select.ratio",), world=("public", "labels", "seed")),),
        }
        pretrained = Stage(
            kind="pretrained", fields=("model.size", "pretrain"), world=("public", "shape", "labels", "seed")
        )
        return () if self.pretrain_on == "nothing" else (*selection.get(self.pretrain_on, ()), pretrained)

    def _generator(self) -> tuple[Stage, ...]:
        if self.finetune == "none":
            return ()
        unclipped = ("finetune.C",) if self.finetune == "nonprivate" else ()
        return (
            Stage(
                kind="generator",
                fields=("model.size", "finetune"),
                without=(*ROUNDING, *unclipped),
                world=("sensitive", "shape", "labels", "training", "seed", "draw"),
                asks="train",
            ),
        )

    def _images(self) -> tuple[Stage, ...]:
        """Post-processing. Public weights can draw the detail where there are some beside the fine-tuned ones."""
        two = self.pretrain_on != "nothing" and self.finetune != "none"
        return (
            Stage(
                kind="model",
                fields=("sample",),
                without=() if two else ("sample.detail_below",),
                world=("public", "seed"),
            ),
            Stage(kind="samples", fields=("samples",), world=("seed",)),
            Stage(kind="score", world=("sensitive", "score"), asks="validation"),
        )


PRESETS: dict[str, Preset] = {
    "privimage+d": Preset(pretrain_on="selected", finetune="private", what="PrivImage with a diffusion model"),
    "pdp-diffusion": Preset(
        pretrain_on="public",
        finetune="private",
        what="pre-trained on all public images",
        settings={"sample.guidance": 0.0, "sample.detail_below": 0.0},
    ),
    "dpdm": Preset(
        pretrain_on="nothing", finetune="private", what="DP-SGD from scratch", settings={"sample.guidance": 0.0}
    ),
    "selection-only": Preset(pretrain_on="selected", finetune="none", what="PrivImage without fine-tuning"),
    "random-selection": Preset(
        pretrain_on="random", finetune="private", what="random labelled classes in place of the query"
    ),
    "nonprivate-tune": Preset(
        pretrain_on="selected",
        finetune="nonprivate",
        what="fine-tuned without noise or clipping",
        settings={
            "finetune.optimizer": "adam",
            "finetune.lr": 1e-3,
            "finetune.momentum": 0.9,
            "finetune.steps": 400,
            "finetune.K": 1,
            "sample.detail_below": 0.0,
        },
    ),
    "real": Preset(
        pretrain_on="nothing",
        finetune="nonprivate",
        what="the sensitive training images themselves",
        generates=False,
    ),
}

NEVER_SEARCHED = (  # of presets that are not private
    "which reads training images without noise: what a search learned from it, no epsilon would cover; name it in "
    "compare, where it is a row to look at"
)


def with_settings(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a method with the preset's settings where they say nothing.

    >>> with_settings({"sample": {"steps": 8}}, "dpdm")["sample"]
    {'steps': 8, 'guidance': 0.0}
    >>> with_settings({"sample": {"guidance": 2}}, "dpdm")["sample"]
    {'guidance': 2}
    """
    filled = dict(values)
    for dotted, value in PRESETS[name].settings.items():
        if not _says(filled, dotted.split(".")):
            filled = set_dotted(filled, dotted, value)
    return filled


def _says(values: Any, path: list[str]) -> bool:
    """Whether the values hold anything at the path, null included; a model, or what is no mapping, says everything."""
    if not path or not isinstance(values, Mapping):
        return True
    return path[0] in values and _says(values[path[0]], path[1:])
