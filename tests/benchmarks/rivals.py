"""Which settings suit every row of the comparison, measured on public data: the presets' own settings come from here.

    python tests/benchmarks/rivals.py --minutes 60                        two draws of the stand-in, epsilon 1 and 10
    python tests/benchmarks/rivals.py --rows pdp-diffusion dpdm --draws 1 --processes 16 --out rivals.jsonl
    python tests/benchmarks/rivals.py --table rivals.jsonl                the table of an earlier run
    python tests/benchmarks/rivals.py --longer --draws 1 --epsilons 10    rows at the cost of privimage+m

The stand-in for the sensitive set are glyphs of held-out characters in ten groups (2,801 images to train on), as in
`tuning.mode: public`. A row is tried with each of its ways of training, each with several ways of sampling;
figures are means over the draws. Nothing sensitive is read. Trials run side by side, one core each, in the order of
the list until the time is
over, so a short run tries less and says so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from privimage.data.pair import DataConfig, load_data
from privimage.data.sets import PublicSet, SensitiveData
from privimage.errors import PrivImageError
from privimage.methods.method import load
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.run_trial import run
from privimage.schema import parse
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.trial import Trial
from privimage.workers import Workers

Settings = dict[str, Any]
METRICS = ("fid[efficientnet-lite0]", "accuracy[cnn]", "accuracy[lr]")
BASE: Settings = {
    "query": {"sigma": 5, "function": {"steps": 350}},
    "pretrain": {"images": 480000, "ema": 0.9995},
}

SPECTRAL: list[Settings] = [{}, {"steps": 64}, {"lr": 0.1}, {"lr": 1.0}, {"P_mean": None}]
ADAM: list[Settings] = [
    {"optimizer": "adam", "lr": lr, "steps": 64, "momentum": 0.9, "P_mean": None} for lr in (3e-4, 1e-3)
]
MANY: list[Settings] = [  # many steps of a small network
    {
        "model": {"size": "dct-mlp-192"},
        "finetune": {"optimizer": "adam", "lr": lr, "steps": steps, "momentum": 0.9, "P_mean": None, "K": 1},
    }
    for lr, steps in ((1e-3, 400), (3e-3, 400), (1e-2, 400), (3e-3, 1000))
]
PLAIN: list[Settings] = [
    {"optimizer": "adam", "lr": lr, "steps": steps, "momentum": 0.9, "P_mean": P_mean, "K": 1}
    for lr, steps, P_mean in (
        (1e-3, 400, None),
        (3e-4, 400, None),
        (1e-3, 400, 0.3),
        (1e-3, 100, None),
        (3e-3, 100, None),
        (1e-3, 16, 0.3),
    )
]
PART: list[Settings] = [
    {},
    *({"optimizer": "adam", "lr": lr, "steps": 64, "momentum": 0.9, "P_mean": None} for lr in (1e-3, 3e-3, 1e-2)),
]
GUIDED: list[Settings] = [{"guidance": 0.0}, {"guidance": 1.2}]
NO_DETAIL: list[Settings] = [{"guidance": 0.0, "detail_below": 0.0}, {"guidance": 1.2, "detail_below": 0.0}]


def tuned(*ways: Settings) -> list[Settings]:
    """Ways of fine-tuning as settings of a method."""
    return [{"finetune": way} for way in ways]


AFTER: list[Settings] = [  # of DP-SGD on a generator that meets means asked with noise 1, as much as epsilon 4.4
    {**way, "means": {"sigma": 1.0}} for way in (*tuned({}, PLAIN[0], PLAIN[1]), *MANY[:3])
]

Rows = dict[str, tuple[list[Settings], list[Settings]]]
ROWS: Rows = {  # ways of training, ways of sampling
    "nonprivate-tune": (tuned(*PLAIN), [*GUIDED, *NO_DETAIL]),
    "pdp-diffusion": (tuned(*SPECTRAL, *ADAM) + MANY, [*GUIDED, *NO_DETAIL]),
    "dpdm": (tuned(*SPECTRAL) + MANY, GUIDED),
    "dp-ldm": (tuned(*PART) + MANY, [{}]),
    "dp-lora": (tuned(*PART) + MANY, [{}]),
    "dp-feta": (tuned(*SPECTRAL[:4]) + MANY, [{}]),
    "random-selection": (tuned(*SPECTRAL[:2]), [*GUIDED, {"guidance": 3.0}]),
    "selection-only": ([{}], [*GUIDED, {"guidance": 3.0}]),
    "privimage+d": (tuned(*SPECTRAL, *ADAM) + MANY, [*GUIDED, *NO_DETAIL]),
    "privimage+m": ([{}], [{}]),
    "privimage+md": (AFTER, [{}, {"detail_below": 0.0}]),
}


def many(lr: float, *lengths: int) -> list[Settings]:
    """As MANY, at one learning rate: so many steps."""
    return [{**MANY[0], "finetune": {**MANY[0]["finetune"], "lr": lr, "steps": steps}} for steps in lengths]


def part(name: str, *lengths: int) -> list[Settings]:
    """So many steps of a method's own part."""
    return [{name: {"steps": steps}} for steps in lengths]


GANS: list[Settings] = [  # as its preset, then a longer pre-training or more private steps
    {"pretrain": {"images": images}, "finetune": {"steps": steps}}
    for images, steps in ((64_000, 50), (160_000, 50), (64_000, 200))
]
LONGER: dict[str, list[Settings]] = {  # as in digits_table, then about as many processor seconds as privimage+m takes
    "dp-feta": many(1e-2, 400, 3000) + many(3e-3, 3000),
    "dpdm": many(1e-2, 400, 3000) + many(3e-3, 3000),
    "dp-ldm": many(1e-2, 400, 3000) + many(3e-3, 3000),
    "dp-lora": many(1e-2, 400, 3000) + many(3e-3, 3000),
    "dp-merf": part("match", 400, 6000),
    "dp-ntk": part("match", 400, 5000),
    "pearl": part("match", 400, 6000),
    "dp-mepf": part("match", 400, 1500),
    "dp-kernel": part("kernel", 300, 4000),
    "gs-wgan": part("sanitized", 120, 600),
    "dpgan": part("finetune", 50, 300),
    "privimage+d": many(1e-3, 400, 2000),
    "pdp-diffusion": many(3e-3, 1000, 3000),
    "privimage+g": GANS,
    "dpgan-p": GANS,
    "privimage+m": [{}, {"pretrain": {"images": 1_440_000}}],
    "pe": [{}, {"evolve": {"rounds": 8}}, *({"evolve": {"candidates": n}} for n in (100, 300, 3000))],
}
FREE = ("nonprivate-tune", "selection-only")  # the same at every epsilon
Task = tuple[str, float, int, Settings, list[Settings]]  # row, epsilon, draw, training, ways of sampling


def tasks(rows: Rows, draws: range, epsilons: list[float]) -> Iterator[Task]:
    """All tasks, the first draw of every row first."""
    for draw in draws:
        for row, (tunings, samplings) in rows.items():
            for tuning in tunings:
                for epsilon in epsilons[:1] if row in FREE else epsilons:
                    yield row, epsilon, draw, tuning, samplings


def trial_of(row: str, epsilon: float, draw: int, tuning: Settings, sampling: Settings) -> Trial:
    """The trial on the stand-in with these settings."""
    base = {name: value for name, value in BASE.items() if name in load(row).config.model_fields}
    values: Settings = {
        "data": {
            "sensitive": {"name": "held-out", "labels": 10, "seed": draw},
            "public": {"name": "glyphs"},
            "stand_in": True,
        },
        "budget": {"epsilon": epsilon, "delta": 1e-5},
        "method": {"name": row, **base, **tuning, **({"sample": sampling} if sampling else {})},
        "metrics": METRICS,
        "seed": draw,
    }
    return parse(Trial, values)


Data = tuple[PublicSet, SensitiveData]
_data: dict[int, Data] = {}  # filled before the processes are forked


def work(task: Task, root: Path) -> list[Settings]:
    """One line of results for every way of sampling; `seconds` are of the processor."""
    torch.set_num_threads(1)
    row, epsilon, draw, tuning, samplings = task
    lines = []
    for sampling in samplings:
        line: Settings = {"row": row, "epsilon": epsilon, "draw": draw, "training": tuning, "sample": sampling}
        started = time.process_time()
        public, sensitive = _data[draw]
        store = FileStore(root / f"store-{draw}")
        ledger = Ledger(root / f"ledger-{draw}.jsonl")  # states no price: nothing sensitive is read
        stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=ledger)
        try:
            trial = trial_of(row, epsilon, draw, tuning, sampling)
            record = run(trial, public=public, sensitive=sensitive, stages=stages, sweep="rivals")
            line |= {name: record.value(name) for name in METRICS}
        except PrivImageError as error:
            line["failed"] = str(error)
        lines.append(line | {"seconds": round(time.process_time() - started, 1)})
    return lines


def measure(todo: list[Task], *, draws: range, processes: int, minutes: float, out: Path) -> None:
    """Run tasks side by side until all are done or the time is over; append their results to `out`."""
    deadline = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        for draw in draws:
            config = trial_of("dpdm", 10.0, draw, {}, {}).data
            assert isinstance(config, DataConfig)
            _data[draw] = load_data(config, root=Root(path=Path(folder)))
        with multiprocessing.get_context("fork").Pool(processes) as pool, out.open("a") as file:
            results = pool.imap_unordered(partial(work, root=Path(folder)), todo)
            for done in range(len(todo)):
                try:
                    lines = results.next(timeout=max(0.0, deadline - time.monotonic()))
                except multiprocessing.TimeoutError:
                    print(f"the time is over: {done} of {len(todo)} tasks are done")
                    break
                file.writelines(json.dumps(line) + "\n" for line in lines)
                file.flush()
                print(f"{done + 1}/{len(todo)} {lines[0]['row']} {lines[0]['training']}", flush=True)


def table(path: Path) -> None:
    """Print the mean over draws of every setting, rows in order, best FID first."""
    found: dict[tuple[str, float, str], list[Settings]] = defaultdict(list)
    failed: dict[tuple[str, float, str], str] = {}
    for text in path.read_text().splitlines():
        line = json.loads(text)
        written = json.dumps(line["training"] | {f"sample.{k}": v for k, v in line["sample"].items()})
        key = (line["row"], line["epsilon"], written)
        if "failed" in line:
            failed[key] = line["failed"]
        else:
            found[key].append(line)
    print(f"{'row':<17} {'eps':>4} {'draws':>5} {'s':>5} " + " ".join(f"{name:>24}" for name in METRICS) + "  settings")
    order = {row: i for i, row in enumerate({**ROWS, **LONGER})}
    means = {key: [sum(line[m] for line in lines) / len(lines) for m in METRICS] for key, lines in found.items()}
    for key in sorted(means, key=lambda key: (order[key[0]], key[1], means[key][0])):
        row, epsilon, written = key
        values = " ".join(f"{value:>24.3f}" for value in means[key])
        spent = sum(line["seconds"] for line in found[key]) / len(found[key])
        print(f"{row:<17} {epsilon:>4g} {len(found[key]):>5} {spent:>5.0f} {values}  {written}")
    for (row, epsilon, written), why in failed.items():
        print(f"{row:<17} {epsilon:>4g} failed: {why}  {written}")


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=sorted({*ROWS, *LONGER}))
    parser.add_argument("--longer", action="store_true", help="rows with their settings, and with far more steps")
    parser.add_argument("--epsilons", nargs="+", type=float, default=[10.0, 1.0])
    parser.add_argument("--draws", type=int, default=2, help="draws of the stand-in, seeds and queries")
    parser.add_argument("--first-draw", type=int, default=0, help="to go on where an earlier run ended")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path("rivals.jsonl"))
    parser.add_argument("--table", type=Path, help="print the table of this file only")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    known = {row: (ways, [{}]) for row, ways in LONGER.items()} if options.longer else ROWS
    rows = {row: ways for row, ways in known.items() if options.rows is None or row in options.rows}
    if options.table is None:
        draws = range(options.first_draw, options.first_draw + options.draws)
        measure(
            list(tasks(rows, draws, options.epsilons)),
            draws=draws,
            processes=options.processes,
            minutes=options.minutes,
            out=options.out,
        )
    table(options.table or options.out)


if __name__ == "__main__":
    main()
