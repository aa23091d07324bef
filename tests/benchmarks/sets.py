"""What large sets cost: decoded once on all cores, read by rows; on made data in a temporary folder that is removed.

    python tests/benchmarks/sets.py                     a folder of 50,000 PNG files at 64 pixels: about 3 GB, 3 minutes
    python tests/benchmarks/sets.py --full              and 1,281,167 at 32 (parquet), 200,000 at 64 (zip): about 15 GB
    python tests/benchmarks/sets.py --n 5000 --large 1e7   all small, to try it

Every figure is of a process of its own. Memory is RssAnon of /proc/PID/status, of that process and those that it
starts, all 20 ms: without the pages of mapped files, which the system takes back when it needs them. "in memory" is
what was before there were decoded copies. Processor seconds are those of all processes: on a machine that does other
work they tell more than seconds do. Files that were just written are in the page cache: nothing waits for a
disk.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from privimage.data import PublicConfig, SensitiveConfig, check_apart, load_public, load_sensitive
from privimage.data.sets import Images
from privimage.data.sources import source

DISTINCT, CLASSES, BATCH, STEPS = 2000, 100, 256, 400


@dataclass(frozen=True, kw_only=True)
class Case:
    """A set: n images of a side, as a source reads them, in a role."""

    name: str
    n: int
    side: int
    role: str
    form: str

    def values(self, folder: Path) -> dict[str, Any]:
        """Its configuration."""
        root = {"folder": "set", "parquet": "set.parquet", "zip": "set.zip"}[self.name]
        return {"name": self.name, "root": str(folder / root), "size": self.side, "channels": 3}


FOLDER = Case(name="folder", n=50_000, side=64, role="sensitive", form="PNG")
FULL = (
    Case(name="parquet", n=1_281_167, side=32, role="public", form="JPEG"),
    Case(name="zip", n=200_000, side=64, role="sensitive", form="JPEG"),
)


def encodings(case: Case) -> Iterator[bytes]:
    """n files, of which DISTINCT have different pixels; all differ, as a number stands behind the end of each."""
    rng, some = np.random.default_rng(0), list[bytes]()
    for _ in range(min(DISTINCT, case.n)):
        file, noise = io.BytesIO(), rng.integers(0, 256, (case.side, case.side, 3), np.uint8)
        Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).save(file, case.form, quality=90)
        some.append(file.getvalue())
    return (some[i % len(some)] + i.to_bytes(4, "big") for i in range(case.n))


def make(case: Case, folder: Path) -> None:
    """Write the set."""
    root = Path(case.values(folder)["root"])
    if case.name == "folder":
        for label in range(CLASSES):
            (root / f"c{label:03}").mkdir(parents=True)
        for i, raw in enumerate(encodings(case)):
            (root / f"c{i % CLASSES:03}" / f"{i:08}.png").write_bytes(raw)
    elif case.name == "zip":
        with zipfile.ZipFile(root, "w") as file:
            for i, raw in enumerate(encodings(case)):
                file.writestr(f"c{i % CLASSES:03}/{i:08}.jpg", raw)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
        with pq.ParquetWriter(root, schema, compression="none") as writer:
            rows, start = encodings(case), 0
            while raws := list(islice(rows, 10_000)):
                labels = [i % CLASSES for i in range(start, start + len(raws))]
                writer.write_table(pa.table({"image": raws, "label": labels}, schema=schema))
                start += len(raws)


def load(case: Case, folder: Path, *, mapped: bool) -> Images:
    """The set, or its train split."""
    values, place = case.values(folder), folder / "decoded" / case.name
    if case.role == "public":
        return load_public(PublicConfig.model_validate(values), cache=place if mapped else Path("/nowhere"))
    config = SensitiveConfig.model_validate(values | {"id": "s"})
    return load_sensitive(config, place=place if mapped else None).train


def batches(images: Images) -> float:
    """Seconds of reading random batches."""
    rng = np.random.default_rng(0)
    for index in rng.integers(0, len(images), (20, BATCH)):
        images.rows(index)
    start = time.perf_counter()
    for index in rng.integers(0, len(images), (STEPS, BATCH)):
        images.rows(index)
    return (time.perf_counter() - start) / STEPS


def one(case: Case, folder: Path, what: str) -> dict[str, float]:
    """What is measured in a process of its own."""
    if what == "in memory":
        source.LARGE = 1 << 60
    start = time.perf_counter()
    images = load(case, folder, mapped=what != "in memory")
    found = {"seconds": time.perf_counter() - start}
    if what == "batches":
        held = Images(x=np.concatenate(list(images.blocks())), y=images.y)
        turns = [(batches(images), batches(held)) for _ in range(3)]
        found |= {"map": min(far for far, _ in turns), "array": min(near for _, near in turns)}
    return found


def apart(folder: Path) -> dict[str, float]:
    """The second start of a sweep on both sets of FULL: each is found, and that they are apart is seen."""
    public, sensitive = FULL
    start = time.perf_counter()
    shown: Any = load(public, folder, mapped=True)
    config = SensitiveConfig.model_validate(sensitive.values(folder) | {"id": "s"})
    data = load_sensitive(config, place=folder / "decoded" / sensitive.name)
    check_apart(shown, data, key="data.public")
    return {"seconds": time.perf_counter() - start}


def anonymous(pid: int) -> int:
    """RssAnon in bytes of a process and of those that it started."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = [c for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    except (OSError, ProcessLookupError):
        return 0
    own = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)
    return own * 1024 + sum(anonymous(int(child)) for child in children)


def measured(case: Case, folder: Path, what: str) -> dict[str, float]:
    """`one` in a process, with the peak of its memory, and processor seconds of it and of those that it starts."""
    order = json.dumps([asdict(case), str(folder), what, source.LARGE])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.Popen([sys.executable, __file__, "--one", order], stdout=subprocess.PIPE, text=True)
    peak = 0
    while run.poll() is None:
        peak = max(peak, anonymous(run.pid))
        time.sleep(0.02)
    out = run.stdout.read() if run.stdout is not None else ""
    if run.returncode:
        raise SystemExit(f"{case.name}, {what}: failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(out), "peak": peak / 2**20, "processor": took}


def row(table: Table, label: str, what: str, found: dict[str, float], *, n: int = 0) -> None:
    """Put what was measured into the table, and say it: the rest may take long."""
    rate = f", {n / found['processor']:,.0f} a processor second" if n else ""
    said = f"{found['seconds']:.1f} s, {found['processor']:.1f} of a processor{rate}"
    table.add_row(label, what, said, f"{found['peak']:.0f} MiB")
    print(f"{label}: {what}: {said}; {found['peak']:.0f} MiB", file=sys.stderr, flush=True)


def shown(case: Case, folder: Path, table: Table) -> None:
    """Measure a case, a row a figure."""
    start = time.perf_counter()
    make(case, folder)
    label = f"{case.name}, {case.n:,} at {case.side} px"
    print(f"{label}: {case.form} files made in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    if case.name == FOLDER.name:
        row(table, label, "in memory", measured(case, folder, "in memory"), n=case.n)
    row(table, label, "decoded once", measured(case, folder, "decoded once"), n=case.n)
    row(table, label, "second start", measured(case, folder, "second start"))
    found = measured(case, folder, "batches")
    ratio, (far, near) = found["map"] / found["array"], (1e3 * found["map"], 1e3 * found["array"])
    said = f"{far:.2f} ms, of an array {near:.2f} ms: {ratio:.2f} times"
    table.add_row(label, f"a batch of {BATCH} from the map", said, "")
    print(f"{label}: batch: {said}", file=sys.stderr, flush=True)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", action="store_true")
    options.add_argument("--n", type=int, help="images of every set")
    options.add_argument("--large", type=float, default=source.LARGE, help="bytes of a set that is large")
    options.add_argument("--folder", type=Path, help="below which the temporary folder is made")
    options.add_argument("--one", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        values, folder, what, source.LARGE = json.loads(given.one)
        case = Case(**values)
        print(json.dumps(apart(Path(folder)) if what == "apart" else one(case, Path(folder), what)))
        return
    source.LARGE = int(given.large)
    table = Table("set", "what", "time", "peak memory")
    with tempfile.TemporaryDirectory(prefix="privimage-sets-", dir=given.folder) as folder:
        for case in (*(FULL if given.full else ()), FOLDER):
            if given.full and case is FOLDER:
                row(table, "both of them", "second start, seen to be apart", measured(FULL[0], Path(folder), "apart"))
            shown(Case(**{**asdict(case), "n": given.n or case.n}), Path(folder), table)
    Console(width=150).print(table)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f} in the last 15 minutes")


if __name__ == "__main__":
    main()
