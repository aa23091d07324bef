"""Small sets, generators and trials: plain functions, so that tests of other folders can have them too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from privimage.data.sets import Part, PrivateSet, PublicSet, SensitiveData
from privimage.generators.codec import DctCodec
from privimage.generators.dct_mlp import GREY
from privimage.generators.dct_mlp_network import DctMLP
from privimage.generators.diffusion import Diffusion
from privimage.generators.edm import EDM
from privimage.methods.method import MethodConfig
from privimage.methods.resolve import fitting
from privimage.privacy.ledger import Ledger
from privimage.progress import silent
from privimage.query import SemanticsConfig
from privimage.query_training import train_query_function
from privimage.record import Record, Role
from privimage.run_trial import run
from privimage.schema import parse, set_dotted
from privimage.semantics import QueryFunction
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.trial import Trial
from privimage.workers import Workers

SIDE, LABELS, CLASSES = 16, ("a", "b", "c"), 12
VALUES: dict[str, Any] = {
    "data": {"sensitive": {"name": "digits", "id": "toy-v1"}, "public": {"name": "glyphs"}},
    "budget": {"epsilon": 1.5, "delta": 1e-5},
    "method": {
        "name": "privimage+d",
        "query": {"sigma": 10, "k1": 2, "function": {"steps": 3, "batch": 16}},
        "select": {"ratio": 0.5},
        "model": {"size": "dct-mlp-192"},
        "pretrain": {"images": 128, "batch": 32},
        "finetune": {"steps": 2, "q": 0.25, "optimizer": "adam", "lr": 1e-3, "K": 2},
        "sample": {"steps": 2},
        "samples": 30,
    },
    "metrics": ["accuracy[lr]"],
}


def pictures(n: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n noisy images, brighter in a place that depends on the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    x = rng.integers(0, 60, (n, 1, SIDE, SIDE))
    for i, c in enumerate(y):
        x[i, 0, c % SIDE, :] += 120
        x[i, 0, :, (5 * c) % SIDE] += 70
    return x.clip(0, 255).astype(np.uint8), y.astype(np.int64)


def private_set(n: int, seed: int, split: Part = "train") -> PrivateSet:
    """A split of `n` images of three labels."""
    x, y = pictures(n, len(LABELS), seed)
    return PrivateSet(x=x, y=y, name="toy", id="toy-v1", split=split, classes=LABELS)


def sensitive_set(*, train: int = 1, validation: int = 2, test: int = 3) -> SensitiveData:
    """Splits of 40, 12 and 30 images, each with the content of its number."""
    return SensitiveData(
        train=private_set(40, seed=train),
        validation=private_set(12, seed=validation, split="validation"),
        test=private_set(30, seed=test, split="test"),
    )


def public_set() -> PublicSet:
    """Eight images of each of 12 classes."""
    x, y = pictures(8 * CLASSES, CLASSES, seed=4)
    return PublicSet(x=x, y=y, name="toy-public", classes=tuple(f"c{i}" for i in range(CLASSES)))


def query_weights(public: PublicSet) -> dict[str, torch.Tensor]:
    """Of a query function after six steps."""
    config = SemanticsConfig(steps=6, batch=24)
    return train_query_function(public, config=config, seed=0, workers=Workers.alone(), progress=silent)


def query_function(weights: dict[str, torch.Tensor]) -> QueryFunction:
    """The query function of these weights."""
    return QueryFunction.load(weights, channels=1, n_classes=CLASSES, device=torch.device("cpu"))


def tiny(seed: int = 0, *, width: int = 8, blocks: int = 1) -> Diffusion:
    """A dct_mlp generator in which every weight matters (none is zero)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        F = DctMLP(size=256, n_classes=len(LABELS), width=width, blocks=blocks, embedding=8)
        with torch.no_grad():
            for p in F.parameters():
                p.add_(0.1 * torch.randn_like(p))
    edm = EDM(sigma_data=1.0, P_mean=0.3, P_std=1.1)
    shape = (1, SIDE, SIDE)
    return Diffusion(F=F, codec=DctCodec(shape=shape), edm=edm, shape=shape, n_classes=len(LABELS), levels=GREY)


def trial(*, asked: float = 6, **dotted: Any) -> Trial:
    """The trial of VALUES with some of them replaced: `method__query__sigma=5`. Shared questions are `asked` so."""
    values = VALUES
    for path, value in dotted.items():
        values = set_dotted(values, path.replace("__", "."), value)
    if values["method"]["name"] == "real":  # knows no other fields
        values = {**values, "method": fitting(values["method"], MethodConfig)}
    alone = parse(Trial, values)
    return alone.asking(dict.fromkeys(alone.questions, asked))


def stages_at(folder: Path) -> Stages:
    """Stages with store and ledger in that folder."""
    store = FileStore(folder / "store")
    return Stages(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(folder / "ledger.jsonl"))


def ran(
    folder: Path, what: Trial, *, public: PublicSet, sensitive: SensitiveData, role: Role = "search"
) -> tuple[Record, Stages]:
    """The record of the trial, and its stages."""
    stages = stages_at(folder)
    return run(what, public=public, sensitive=sensitive, stages=stages, sweep="toy", role=role), stages
