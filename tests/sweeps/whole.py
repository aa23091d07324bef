"""Whole sweeps on the Ray of the session. Not a test module."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import yaml
from ray._private.worker import global_worker

from privimage.paths import Root, RunFolder
from privimage.privacy.ledger import Ledger
from privimage.sweeps import run as runs
from privimage.sweeps.run import Outcome, run_sweep
from privimage.sweeps.sweep import load_sweep

IN_TURN = {"resources": {"cpu": 1.5}}  # of two: one process for all trials, as to start one takes longer than a trial


def run(values: dict[str, Any], root: Path) -> Outcome:
    """One command on `root`/sweep.yaml."""
    file = root / "sweep.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return run_sweep(load_sweep(file), root=Root(path=root / "runs"), address=None, quiet=True)


def ledger(root: Path) -> Ledger:
    return Ledger(root / "runs" / "ledgers" / "tiny-v1.jsonl")


@dataclass
class Images:
    """The training images of a sweep, as it loaded them, and how often the driver put them into the object store."""

    copies: int = 0
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A sweep that has ended: its values, the root that it lies under, and what was seen of its images."""

    values: dict[str, Any]
    root: Path
    images: Images

    @property
    def folder(self) -> RunFolder:
        return Root(path=self.root / "runs").run("tiny")

    def copied(self, root: Path) -> Finished:
        """The same files, for a test that changes them."""
        shutil.copytree(self.root, root)
        return Finished(values=copy.deepcopy(self.values), root=root, images=self.images)


@contextmanager
def watched() -> Iterator[Images]:
    """Count how often the training images are in what this process puts into Ray's object store."""
    seen, real_load, real_put = Images(), runs.load_data, ray.put

    def load(*args: Any, **rest: Any) -> Any:
        both = real_load(*args, **rest)
        seen.x = both[1].train.x
        return both

    def put(value: Any, *args: Any, **rest: Any) -> Any:
        raw = global_worker.get_serialization_context().serialize(value).to_bytes()
        seen.copies += raw.count(seen.x.tobytes())
        return real_put(value, *args, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "load_data", load)
        patch.setattr(ray, "put", put)
        yield seen


def finish(values: dict[str, Any], root: Path) -> Finished:
    """Run the sweep to its end."""
    with watched() as seen:
        assert run(values, root).failures == ()
    return Finished(values=values, root=root, images=seen)
