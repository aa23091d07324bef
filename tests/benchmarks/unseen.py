"""Sets that no setting was chosen on: what every kind of row is worth there, beside its control.

    npm pack emoji-datasource@16.0.0 && tar xzf emoji-datasource-16.0.0.tgz        # for people and shapes
    python tests/benchmarks/unseen.py --emoji package --out unseen.jsonl
    python tests/benchmarks/unseen.py --sets few --draws 3 --rows privimage+m privimage+d --out few.jsonl
    python tests/benchmarks/unseen.py --table unseen.jsonl

    few      about 500 of the embedded digits to train on (a test split of 1,000), glyphs as public images
    pen      1,797 digits of other people at 8 x 8 pixels (scikit-learn), made 28 x 28; glyphs
    shapes   outlines of emoji, white on black, by five kinds of things: no glyph looks like them; glyphs
    people   1,896 faces and figures in colour, 32 x 32, by six tones of skin; 1,911 emoji of another vendor in 99 kinds
    icons    where settings may be chosen: 3,800 emoji of both vendors, some kinds held out as six labels

`people` and `shapes` are drawings of Twitter (CC-BY-4.0), public images those of Google (Apache-2.0). All of it is
public, so what is asked is no loss. A draw is one of noise, seed and training. One process a set and draw.
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
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from privimage.data.config import SensitiveConfig
from privimage.data.load import load_sensitive
from privimage.data.pair import DataConfig, load_data
from privimage.data.sets import PublicSet, SensitiveData
from privimage.errors import PrivImageError
from privimage.paths import Root
from privimage.privacy.ledger import Ledger
from privimage.run_trial import run
from privimage.schema import parse
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.trial import Trial
from privimage.workers import Workers

Images = NDArray[np.uint8]
Row = dict[str, Any]
SETS = ("few", "pen", "shapes", "people", "icons")
METRICS = ("fid[efficientnet-lite0]", "accuracy[cnn]", "accuracy[lr]")
FEW = 543  # images, of which a twelfth is put aside for validation
TONES = ("none", "1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")
KINDS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
LONG = {"pretrain": {"images": 480_000, "ema": 0.9995}}
ROWS: dict[str, tuple[Row, tuple[float, ...]]] = {  # method, epsilons
    "privimage+m": ({"name": "privimage+m"}, (1.0, 10.0)),
    "privimage+a": ({"name": "privimage+a"}, (1.0, 10.0)),
    "privimage+md": ({"name": "privimage+md", "means": {"sigma": 1.0}}, (10.0,)),
    "tilted-images": ({"name": "tilted-images"}, (1.0, 10.0)),
    "selection-only": ({"name": "selection-only", **LONG}, (1.0,)),
    "selection+anchors": ({"name": "selection+anchors"}, (1.0,)),
    "privimage+d": ({"name": "privimage+d", **LONG}, (1.0, 10.0)),
    "nonprivate-tune": ({"name": "nonprivate-tune", **LONG}, (1.0,)),
    "real": ({"name": "real"}, (1.0,)),
}


def few(folder: Path, seed: int) -> Row:
    """Some of the digits' training split; measured on the whole of their test split."""
    config = SensitiveConfig(name="digits", id="whole")
    splits = load_sensitive(config, place=folder / "whole")
    i = np.random.default_rng(seed).permutation(len(splits.train))[:FEW]
    for name, images, index in (("train", splits.train, i), ("test", splits.test, range(len(splits.test)))):
        for number in index:
            place = folder / name / images.classes[images.y[number]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.rows(np.array([number]))[0, 0]).save(place / f"{number}.png")
    own = {"root": str(folder / "train"), "test_root": str(folder / "test"), "size": 28, "channels": 1}
    return {"sensitive": {"name": "folder", **own}, "public": {"name": "glyphs"}}


def pen(folder: Path) -> Row:
    """Digits as they were scanned for a bank's forms, smoothed to the size of glyphs."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    made = [Image.fromarray((a * 255 / 16).astype(np.uint8).reshape(8, 8)) for a in x]
    images = np.stack([np.asarray(a.resize((22, 22), Image.Resampling.BICUBIC)) for a in made])
    write(folder / "pen.npz", np.pad(images, ((0, 0), (3, 3), (3, 3))), y, [str(i) for i in range(10)])
    return {"sensitive": {"name": "npz", "root": str(folder / "pen.npz")}, "public": {"name": "glyphs"}}


def cells(emoji: Path, vendor: str) -> Any:
    """A function from an entry of emoji.json to its drawing, RGBA of 32 x 32 pixels."""
    sheet = np.asarray(Image.open(emoji / "img" / vendor / "sheets" / "32.png").convert("RGBA"))

    def cell(entry: Row) -> Images:
        top, left = 34 * entry["sheet_y"] + 1, 34 * entry["sheet_x"] + 1
        found: Images = sheet[top : top + 32, left : left + 32]
        return found

    return cell


def on_white(rgba: Images) -> Images:
    """[3, 32, 32]"""
    alpha = rgba[..., 3:] / 255
    return (rgba[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8).transpose(2, 0, 1)


def shapes(folder: Path, emoji: Path) -> Row:
    """Where emoji of five kinds are not transparent; each outline once."""
    cell = cells(emoji, "twitter")
    entries = [e for e in json.loads((emoji / "emoji.json").read_text()) if e["has_img_twitter"]]
    chosen = [e for e in entries if e["category"] in KINDS]
    masks = [Image.fromarray(cell(e)[..., 3]).resize((28, 28), Image.Resampling.LANCZOS) for e in chosen]
    x, first = np.unique(np.stack([np.asarray(mask) for mask in masks]), axis=0, return_index=True)
    write(folder / "shapes.npz", x, [KINDS.index(chosen[i]["category"]) for i in first], KINDS)
    return {"sensitive": {"name": "npz", "root": str(folder / "shapes.npz")}, "public": {"name": "glyphs"}}


def people(folder: Path, emoji: Path) -> Row:
    """Whoever has a tone of skin, by one vendor; all emoji without one by another vendor, by kind."""
    entries, twitter, google = (
        json.loads((emoji / "emoji.json").read_text()),
        cells(emoji, "twitter"),
        cells(emoji, "google"),
    )
    x, y = [], []
    for entry in entries:
        tones = {key: e for key, e in entry.get("skin_variations", {}).items() if key in TONES}
        for tone, e in [("none", entry), *tones.items()] if tones else []:
            x.append(on_white(twitter(e)))
            y.append(TONES.index(tone))
    write(folder / "people.npz", np.stack(x), y, TONES)
    kept = [e for e in entries if e["has_img_google"]]
    kinds = sorted({e["subcategory"] for e in kept})
    write(
        folder / "emoji.npz",
        np.stack([on_white(google(e)) for e in kept]),
        [kinds.index(e["subcategory"]) for e in kept],
        kinds,
    )
    sets = {"sensitive": folder / "people.npz", "public": folder / "emoji.npz"}
    return {role: {"name": "npz", "root": str(root), "channels": 3} for role, root in sets.items()}


def icons(folder: Path, emoji: Path) -> Row:
    """Emoji of two vendors by kind, of which some kinds stand in for what is sensitive."""
    entries = json.loads((emoji / "emoji.json").read_text())
    kinds = sorted({e["subcategory"] for e in entries})
    drawn = [
        (on_white(cell(e)), kinds.index(e["subcategory"]))
        for vendor in ("google", "twitter")
        for cell in [cells(emoji, vendor)]
        for e in entries
        if e[f"has_img_{vendor}"]
    ]
    x, y = zip(*drawn, strict=True)
    write(folder / "icons.npz", np.stack(x), y, kinds)
    public = {"name": "npz", "root": str(folder / "icons.npz"), "channels": 3}
    return {"sensitive": {"name": "held-out", "labels": 6, "share": 0.3}, "public": public, "stand_in": True}


def write(path: Path, x: Images, y: Any, classes: Any) -> None:
    """A set in the form that the source `npz` reads."""
    np.savez(path, x=x, y=np.asarray(y, dtype=np.int64), classes=np.array(classes))


def data_of(name: str, folder: Path, *, seed: int, emoji: Path | None) -> Row:
    """What a sweep file would say of that set, its files written to the folder."""
    if name == "few":
        return few(folder, seed)
    if name == "pen":
        return pen(folder)
    assert emoji is not None
    return {"shapes": shapes, "people": people, "icons": icons}[name](folder, emoji)


def work(name: str, draw: int, rows: list[str], ways: list[Row], emoji: Path | None, out: Path) -> None:
    """All rows of one draw on one set; a line each is appended to `out`."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as temporary, out.open("a") as file:
        folder = Path(temporary)
        data = data_of(name, folder, seed=draw, emoji=emoji)
        data["sensitive"] |= {"seed": draw} if name == "icons" else {"id": name, "split_seed": draw}
        sets = load_data(parse(DataConfig, data), root=Root(path=folder))
        store = FileStore(folder / "store")
        for row, way in product(rows, ways):
            method, epsilons = ROWS[row]
            for epsilon in epsilons:
                line: Row = {
                    "set": name,
                    "draw": draw,
                    "row": row,
                    "epsilon": epsilon,
                    "way": way,
                    "n": len(sets[1].train),
                }
                started = time.process_time()
                values = {
                    "data": data, "budget": {"epsilon": epsilon, "delta": 1e-5}, "method": {**method, **way},
                    "metrics": METRICS, "seed": draw,
                }  # fmt: skip
                try:
                    line |= measured(values, sets, store, folder)
                except PrivImageError as error:
                    line["failed"] = str(error)
                line["seconds"] = round(time.process_time() - started, 1)
                file.write(json.dumps(line) + "\n")
                file.flush()
                print(json.dumps(line), flush=True)


def measured(values: Row, sets: tuple[PublicSet, SensitiveData], store: FileStore, folder: Path) -> Row:
    """The metrics of one trial."""
    ledger = Ledger(folder / "ledger.jsonl")  # no cap: what is asked is public
    stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=ledger)
    record = run(
        parse(Trial, values).settled(),
        public=sets[0],
        sensitive=sets[1],
        stages=stages,
        sweep="unseen",
        role="compare",
    )
    return {metric: record.value(metric) for metric in METRICS}


def table(path: Path) -> None:
    """Print mean and standard error over draws."""
    found: dict[tuple[str, str, float, str], list[Row]] = defaultdict(list)
    for text in path.read_text().splitlines():
        line = json.loads(text)
        found[line["set"], line["row"], line["epsilon"], json.dumps(line["way"])].append(line)
    print(f"{'set':<7} {'n':>5} {'row':<18} {'eps':>4} {'draws':>5} {'s':>4} " + " ".join(f"{m:>24}" for m in METRICS))
    for (name, row, epsilon, way), lines in sorted(
        found.items(), key=lambda at: (SETS.index(at[0][0]), list(ROWS).index(at[0][1]), at[0][2])
    ):
        told = [line for line in lines if "failed" not in line]
        values = [[line[m] for line in told] for m in METRICS]
        shown = " ".join(f"{said(v):>24}" for v in values) if told else lines[0]["failed"]
        seconds = mean(line["seconds"] for line in lines)
        head = f"{name:<7} {lines[0]['n']:>5} {row:<18} {epsilon:>4g} {len(told):>5} {seconds:>4.0f}"
        print(f"{head} {shown} {way.strip('{}')}")


def said(values: list[float]) -> str:
    """Mean ± standard error."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else "")


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument(
        "--ways", nargs="+", type=json.loads, default=[{}], help="JSON: settings of all rows, each is run"
    )
    parser.add_argument("--emoji", type=Path, help="the unpacked package emoji-datasource")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("unseen.jsonl"))
    parser.add_argument("--table", type=Path, help="print the table of this file only")
    options = parser.parse_args()
    if options.table is None and options.emoji is None and not set(options.sets) <= {"few", "pen"}:
        parser.error("--emoji: name the unpacked package emoji-datasource (above), or take --sets few pen")
    if options.table is None:
        draws = range(options.first_draw, options.first_draw + options.draws)
        todo = [
            (name, draw, options.rows, options.ways, options.emoji, options.out)
            for draw in draws
            for name in options.sets
        ]
        with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
            pool.starmap(work, todo, chunksize=1)
    table(options.table or options.out)


if __name__ == "__main__":
    main()
