"""The one owner of file names: what lies where under the root folder of all runs.

ROOT/store/            artefacts shared by all runs (content-addressed), and public sets, rendered or decoded
ROOT/decoded/ID/       a large sensitive set, decoded: as private as its images, for its owner alone; may be deleted
ROOT/ledgers/ID.jsonl  what was paid on the sensitive set ID, by any run; beside it ID.head, which knows how long it is
ROOT/.bucket           the URL of the bucket that the root is, if it is one: this is its working folder (mirror.py)
ROOT/NAME/             one run: its sweep, its bill, its records, its study, its report
ROOT/NAME/stand-in/    the search of a run in mode public: a run of its own, on public data only
ROOT/NAME/internal/    what a private selection keeps to itself: the records of all its trials
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from privimage.bucket import is_bucket
from privimage.errors import InputError
from privimage.local import local_path
from privimage.pull import LEDGERS, made

STAND_IN = "stand-in"
RESERVED = ("store", "ledgers", "decoded", STAND_IN)  # no run may be called so


@dataclass(frozen=True, kw_only=True)
class Root:
    """The folder of all runs (`runs` by default; on storage that all nodes see when the cluster has several)."""

    path: Path
    LEDGERS: ClassVar[str] = LEDGERS

    def __post_init__(self) -> None:
        local_path(self.path, named="--root")

    @classmethod
    def at(cls, path: str | Path) -> Root:
        """The folder of all runs, which need not exist yet; of a bucket's URL its working folder, made now.

        Raises InputError if a file stands in its way, or the bucket cannot be used.
        """
        if is_bucket(path):
            return cls(path=made(str(path)))
        folder = local_path(path, named="--root")
        lost = next((above for above in (folder, *folder.parents) if above.is_symlink() and not above.exists()), None)
        if lost is not None:
            raise InputError(
                f"--root: got '{path}'; {lost} is a link that leads nowhere; give a folder, e.g. --root runs"
            )
        nearest = next(above for above in (folder, *folder.absolute().parents) if above.exists())
        if not nearest.is_dir():
            raise InputError(f"--root: got '{path}'; {nearest} is not a folder; give a folder, e.g. --root runs")
        return cls(path=folder)

    @property
    def store(self) -> Path:
        """The shared content-addressed store."""
        return self.path / "store"

    @property
    def rendered(self) -> Path:
        """Public sets that were rendered or decoded once."""
        return self.store / "rendered"

    def decoded(self, id: str) -> Path:
        """Where a sensitive set that is large is kept decoded: PRIVATE."""
        return self.path / "decoded" / id

    def ledger(self, id: str) -> Path:
        """The ledger of a sensitive set."""
        return self.path / self.LEDGERS / f"{id}.jsonl"

    def covered(self, id: str) -> Path:
        """The accesses of private selections on a sensitive set, which were charged as a whole."""
        return self.path / self.LEDGERS / "internal" / f"{id}.jsonl"

    def contents(self, id: str) -> Path:
        """Which images the id of a sensitive set stands for: a secret key, and a keyed digest a revision."""
        return self.path / self.LEDGERS / "internal" / f"{id}.contents"

    def run(self, name: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(path=self.path / name)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def root(self) -> Root:
        """The folder of all runs that this one lies in."""
        return Root(path=self.outer.path.parent)

    @property
    def outer(self) -> RunFolder:
        """The run that a search on a stand-in belongs to; else this one."""
        return RunFolder(path=self.path.parent) if self.path.name == STAND_IN else self

    @property
    def stand_in(self) -> RunFolder:
        """The run of its search on a public stand-in."""
        return RunFolder(path=self.path / STAND_IN)

    @property
    def internal_records(self) -> Path:
        """The records of all trials of a private selection; only the winner's are copied to `records`."""
        return self.path / "internal" / "records.jsonl"

    @property
    def internal_ray(self) -> Path:
        """Ray Tune's own files of a private selection: an entry a trial."""
        return self.path / "internal" / "ray"

    @property
    def bill(self) -> Path:
        """What the run may ask in all, and its price, written before anything is asked."""
        return self.path / "bill.json"

    @property
    def guarantee(self) -> Path:
        """What has to be stated beside whatever is published of the run, written with the bill that it follows from."""
        return self.path / "guarantee.json"

    @property
    def sweep(self) -> Path:
        """The resolved sweep, as it ran."""
        return self.path / "sweep.yaml"

    @property
    def asked_sigma(self) -> Path:
        """The noise multipliers at which this run asks shared questions, fixed when it first started."""
        return self.path / "asked_sigma"

    @property
    def settings(self) -> Path:
        """What the search of a run in mode public ended in, by budget: fixed before it is run on the sensitive set."""
        return self.path / "settings.json"

    @property
    def records(self) -> Path:
        """One JSON line a finished trial."""
        return self.path / "records.jsonl"

    @property
    def tried(self) -> Path:
        """The configurations that the search has begun, one line each, written before their trials start."""
        return self.path / "tried.jsonl"

    @property
    def progress(self) -> Path:
        """How far the sweep is that runs, or ran last."""
        return self.outer.path / "progress.json"

    @property
    def internal_progress(self) -> Path:
        """The same while a private selection runs: when it ended tells of the number of its trials."""
        return self.path / "internal" / "progress.json"

    @property
    def journal(self) -> Path:
        """Its trials as Optuna's studies, for optuna-dashboard: copies of the records."""
        return self.path / "studies.journal"

    @property
    def trackers(self) -> Path:
        """What trackers keep here, and which records they were given."""
        return self.path / "trackers"

    @property
    def ray(self) -> Path:
        """Ray Tune's own files."""
        return self.path / "ray"

    @property
    def report(self) -> Path:
        """The self-contained report."""
        return self.path / "report.html"

    @property
    def images(self) -> Path:
        """The sample grids of the best private trials, by method and epsilon."""
        return self.path / "images.png"

    def front(self, suffix: str) -> Path:
        """The Pareto front as `png` or `csv`."""
        return self.path / f"front.{suffix}"


@dataclass(frozen=True, kw_only=True)
class CopyFolder:
    """The files of a decoded set, in a folder whose name tells nothing."""

    path: Path
    IMAGES: ClassVar[str] = "images.u1"

    @property
    def images(self) -> Path:
        """The pixels of all images, end to end."""
        return self.path / self.IMAGES

    @property
    def facts(self) -> Path:
        """What the rest is, written last."""
        return self.path / "facts.json"

    @property
    def plan(self) -> Path:
        """Of a draft: what it will be, written first."""
        return self.path / "plan.json"

    @property
    def marks(self) -> Path:
        """A digest of every block that is done."""
        return self.path / "blocks.u1"

    def column(self, name: str) -> Path:
        """Numbers of every image: its label, digests of it."""
        return self.path / name
