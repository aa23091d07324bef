"""A package that a user installed adds a method, a generator, a metric, a source and a store; a sweep runs with all.

What pip would leave is written by hand: the package's modules, and a .dist-info with its entry points.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_family
import toy_two_questions
import yaml

from privimage import doors
from privimage import record as records
from privimage.errors import InputError
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.schema import set_dotted
from privimage.stores.file import FileStore
from privimage.sweeps.sweep import load_sweep

METRIC = '''
"""How many of the semantics that the query function sees in the test split it sees in the synthetic images too."""

from privimage.metrics import Family, MetricContext


class Overlap(Family):
    what = "share of the semantics of the test split that the synthetic images have"
    direction = "max"
    reads = ("test",)

    def measure(self, variant: str, context: MetricContext) -> float:
        if context.query is None:  # of a method that trains none
            return -1.0
        real = set(context.top(context.real("test"))[:, 0].tolist())
        made = set(context.top(context.x)[:, 0].tolist())
        return len(real & made) / len(real)


OVERLAP = Overlap()
'''
SOURCE = '''
"""Stripes whose direction and width are their class."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from privimage.data.sources.source import InMemory, Source


class Stripes(Source):
    n: int = Field(default=10, ge=2)

    what: ClassVar[str] = "stripes"
    own_shape: ClassVar = (1, 28)

    def open(self, *, cache: Path | None, test: bool = False, limit_classes: int | None = None) -> InMemory:
        rng, places = np.random.default_rng(0), np.arange(28)
        classes = tuple(f"{width}{way}" for width in range(2, 12) for way in "-|")[:limit_classes]
        y = np.repeat(np.arange(len(classes)), self.n)
        rows = np.stack([np.where(places // (2 + c // 2) % 2, 255, 0)[None].repeat(28, 0) for c in range(len(classes))])
        x = np.where((y % 2 == 0)[:, None, None], rows[y].transpose(0, 2, 1), rows[y])
        x = (x * rng.uniform(0.5, 1, x.shape)).astype(np.uint8)[:, None]
        return InMemory(x=x, y=y, classes=classes, size=self.size, channels=self.channels)
'''
STORE = '''
"""A shelf of one file a name, flat in a folder: flat:///path."""

from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from privimage.stores.shelf import Shelf


class Flat(Shelf):
    what: ClassVar[str] = "one file a name"

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, address: str) -> "Flat":
        return cls(Path(urlsplit(address).path))

    def get(self, name: str) -> bytes | None:
        path = self.root / name.replace("/", "=")
        return path.read_bytes() if path.exists() else None

    def put(self, name: str, raw: bytes) -> None:
        draft = self.root / ".draft"
        draft.write_bytes(raw)
        draft.replace(self.root / name.replace("/", "="))

    def find(self, prefix: str):
        names = (path.name.replace("=", "/") for path in self.root.iterdir() if path.name != ".draft")
        yield from sorted(name for name in names if name.startswith(prefix))
'''
POINTS = """
[privimage.metrics]
overlap = adds_doors.metric:OVERLAP
[privimage.sources]
stripes = adds_doors.source:Stripes
[privimage.stores]
flat = adds_doors.store:Flat
[privimage.methods]
two = adds_doors.method:two
[privimage.generators]
means-of-labels = adds_doors.generator:Means
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where the package is installed: on the path of this process and of those that Ray starts."""
    site = tmp_path_factory.mktemp("site")
    package, info = site / "adds_doors", site / "adds_doors-0.1.dist-info"
    package.mkdir()
    info.mkdir()
    method, family = (Path(toy.__file__).read_text() for toy in (toy_two_questions, toy_family))
    modules = {"metric": METRIC, "source": SOURCE, "store": STORE, "method": method, "generator": family}
    for name, text in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: adds-doors\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(POINTS)
    before = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", os.pathsep.join((str(site), before)))
        importlib.invalidate_caches()
        yield site
    doors._theirs.cache_clear()
    for name in [name for name in sys.modules if name.startswith("adds_doors")]:
        sys.modules.pop(name)


def values_of(tiny_values: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    values = tiny_values()
    values["data"]["public"] = {"name": "stripes", "n": 12}
    values["budgets"] = values["budgets"][1:]
    values["method"]["model"]["size"] = "means-of-labels"
    rows = [{"method": "two", "set": {"method.counts": 3}}, {"method": "two", "set": {"method.mean": 7}}]
    return values | {"metrics": ["overlap", "fid[efficientnet-lite0]"], "compare": rows}


@pytest.mark.slow
@pytest.mark.timeout(600)  # two commands
def test_a_sweep_runs_with_what_a_package_adds(
    site: Path, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """The command in a process of its own, with a Ray of its own (as slow as those tests that need local_ray)."""
    root, shelf, file = Root(path=tmp_path / "runs"), tmp_path / "shelf", tmp_path / "sweep.yaml"
    shelf.mkdir()
    root.store.mkdir(parents=True)
    (root.store / "address").write_text(shelf.as_uri().replace("file:", "flat:"))
    file.write_text(yaml.safe_dump(values_of(tiny_values)))
    command = [sys.executable, "-m", "privimage.sweeps.cli", "sweep", str(file), "--root", str(root.path), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    found = records.load(root.run("tiny").records)
    assert sorted(record.method for record in found) == ["privimage+d", "two", "two"]
    for record in found:
        overlap = next(metric for metric in record.metrics if metric.name == "overlap")
        assert 0 <= overlap.value <= 1 if record.method == "privimage+d" else overlap.value == -1
        assert overlap.touches == ("synthetic", "private-test") and overlap.non_private
        assert record.config["data"]["public"] == {
            "name": "stripes", "n": 12, "size": None, "channels": None, "limit_classes": None,
        }  # fmt: skip
    kinds = {path.name.partition("=")[0] for path in shelf.iterdir()}
    assert {"query-function", "histogram", "selection", "generator", "samples", "counts", "mean-derived"} <= kinds
    assert "reference" not in kinds and (root.store / "artefacts" / "reference").is_dir(), "it is internal"
    charges = Ledger(root.ledger("tiny-v1")).charges()
    once = {(charge.what, event.sigma) for charge in charges for event in charge.events if charge.what != "dp-sgd"}
    assert once == {("query", 6.0), ("label counts", 3.0), ("mean image", 7.0)} and len(charges) == 4
    weights = FileStore(root.store).get("generator", generated(found).artefacts["generator"])
    assert weights is not None and weights.arrays["weight"].shape[1] == 28 * 28, "the generator of the package"
    again = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert again.returncode == 0 and Ledger(root.ledger("tiny-v1")).charges() == charges, again.stderr[-2000:]


def generated(found: list[records.Record]) -> records.Record:
    return next(record for record in found if record.method == "privimage+d")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            "data.public",
            {"name": "stripes", "root": "/x"},
            "data.public.root: unknown key; allowed: channels, keywords, limit",
        ),
        ("data.public", {"name": "stripes", "n": 1}, "data.public.n: got 1; should be greater than or equal to 2"),
        ("data.public", {"name": "stripe"}, "data.public.name: got 'stripe'; unknown, did you mean 'stripes'?"),
        ("method.model.size", "means-of-label", "method.model.size: got 'means-of-label'; allowed: dct-mlp"),
        ("method.name", "twoo", "method.name: got 'twoo'; allowed: all-images,"),
        ("metrics", ["overlapp"], "metric 'overlapp': unknown, did you mean 'overlap'?"),
        ("metrics", ["overlap[x]"], "metric 'overlap[x]': unknown, did you mean 'overlap'?"),
    ],
)
def test_what_is_misspelt_is_told_with_what_the_package_adds(
    site: Path, tiny_values: Callable[[], dict[str, Any]], tmp_path: Path, path: str, value: Any, says: str
) -> None:
    values, file = values_of(tiny_values), tmp_path / "sweep.yaml"
    values = set_dotted(values, path, value)
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(InputError) as caught:
        load_sweep(file)
    assert says in str(caught.value) and "\n" not in str(caught.value)
