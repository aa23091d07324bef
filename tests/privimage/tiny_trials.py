"""Trials of a tiny sweep on image folders, with injected entropy, and all that they made.

Run as a script: FOLDER METHOD..., where `write` has been; prints as JSON what `made` found.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from known import entropy

from privimage.data.pair import load_data
from privimage.field_types import has_field
from privimage.methods.method import load
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.privacy.noise import Noise
from privimage.run_trial import run
from privimage.schema import set_dotted
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.sweeps.sweep import METHOD, load_sweep
from privimage.workers import Workers

FILE, FOLDERS = "tiny.yaml", ("public", "sensitive")
ASKED = 0.4  # noise multiplier of shared questions: less than a trial needs, so that its own noise is derived
OWN = {  # where a method has them
    "method.match.steps": 2,
    "method.match.batch": 30,
    "method.fourier.features": 50,
    "method.ntk.width": 3,
    "method.characteristic.features": 50,
    "method.kernel.steps": 2,
    "method.kernel.features": 50,
    "method.kernel.batch": 30,
    "method.sanitized.parts": 6,
    "method.sanitized.steps": 2,
    "method.sanitized.batch": 20,
    "method.sanitized.width": 4,
    "method.evolve.rounds": 2,
    "method.evolve.first": 20,
    "method.evolve.candidates": 6,
}
TWICE = ("privimage+d", "privimage+m")  # run in another process as well
VALUES: dict[str, Any] = {
    "budgets": [{"epsilon": 10, "delta": 1e-5}],
    "method.query.k1": 2,
    "method.pretrain": {"images": 64, "batch": 32},
    "method.finetune.K": 2,
    "method.sample.steps": 2,
    "objectives": {"dp-accuracy[lr]": "max"},
    "metrics": ["accuracy[lr]"],
    "search": {},
}


def write(folder: Path, values: dict[str, Any]) -> None:
    """Write the sweep of these values, with those above, and links to its images, so that their paths are the same."""
    folder.mkdir(exist_ok=True)
    for role in FOLDERS:
        (folder / role).symlink_to(values["data"][role]["root"])
        values = set_dotted(values, f"data.{role}.root", role)
    for dotted, value in VALUES.items():
        values = set_dotted(values, dotted, value)
    (folder / FILE).write_text(yaml.safe_dump(values))


def made(folder: Path, methods: Sequence[str]) -> dict[str, Any]:
    """What a trial of each method made of the sweep in the folder, with store and ledger beside it.

    `keys` are method -> kind of stage -> key, `content` key -> digest of its arrays, `figures` method -> metric ->
    value, `charges` what the ledger was charged.
    """
    with contextlib.chdir(folder):
        sweep, store, ledger = load_sweep(Path(FILE)), FileStore(Path("store")), Ledger(Path("ledger.jsonl"))
        public, sensitive = load_data(sweep.data, root=Root(path=Path("runs")))
        store.entropy = lambda name: entropy(7)  # type: ignore[method-assign]
        keys, figures = {}, {}
        for name in methods:
            private, config = load(name).private, load(name).config
            own = {dotted: value for dotted, value in OWN.items() if has_field(config, dotted.split(".")[1:])}
            own |= {f"method.{at}": value for at, value in load(name).settings.items() if at == "model.size"}
            trial = sweep.trial(
                budget=sweep.budgets[0], seed=3, noise=Noise(), overrides={METHOD: name, **own}, search=private,
                scored=private,
            )  # fmt: skip
            record = run(
                trial.asking(dict.fromkeys(trial.questions, ASKED)),
                public=public,
                sensitive=sensitive,
                stages=Stages(workers=Workers.alone(), store=store, cache=store, ledger=ledger),
                sweep=sweep.name,
                role="search" if private else "compare",
            )
            keys[name], figures[name] = record.artefacts, {metric.name: metric.value for metric in record.metrics}
        stored = {key: store.get(kind, key) for kinds in keys.values() for kind, key in kinds.items()}
        content = {key: artefact.manifest.sha256 for key, artefact in stored.items() if artefact is not None}
        charges = [[charge.id, [event.model_dump() for event in charge.events]] for charge in ledger.charges()]
        return {"keys": keys, "content": content, "figures": figures, "charges": charges}


if __name__ == "__main__":
    print(json.dumps(made(Path(sys.argv[1]), sys.argv[2:])))
