"""The recipes that are named by what they reproduce, planned on stand-ins: nothing sensitive is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privimage.methods.method import load
from privimage.metrics import weights
from privimage.query import SemanticsConfig
from privimage.sweeps.sweep import Sweep, load_sweep

Cli = Callable[..., tuple[int, str, str]]
RECIPES = Path(__file__).parents[2] / "sweeps" / "recipes"
# the paper's Table 5: epsilons, delta, size, q, steps, sigma_s, k1
TABLE5 = {
    "table2_cifar10": ((1, 5, 10), 1e-5, "unet-1.75m", 16384 / 50_000, 152, 484, 5),
    "table2_celeba32": ((1, 5, 10), 1e-6, "unet-1.80m", 16384 / 202_599, 618, 5300, 50),
    "table2_celeba64": ((1, 5, 10), 1e-6, "unet-2.00m", 8192 / 202_599, 1236, 5300, 50),
    "table3_nonprivate": ((10,), 1e-5, "unet-1.75m", 16384 / 50_000, 152, 484, 5),
    "fig7_ratio_and_size": ((10,), 1e-5, "unet-1.75m", 16384 / 50_000, 152, 484, 5),
    "table4_resources": ((10,), 1e-5, "unet-6.08m", 16384 / 50_000, 152, 484, 5),
}
# the paper's Table 6: size, iterations of pre-training, and of fine-tuning with those of D for each, learning rate of D
TABLE6 = {
    "table2_cifar10": ("gan-9.42m", 20_000, 30, 5, 2e-4),
    "table2_celeba32": ("gan-9.42m", 4_000, 124, 5, 2e-4),
    "table2_celeba64": ("gan-11.3m", 4_000, 124, 2, 5e-4),
    "table3_nonprivate": ("gan-9.42m", 20_000, 30, 5, 2e-4),
}
OTHERS = ("fig8_mnist_overparameterised",)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ImageNet as 1,000 directories of one image, CelebA as one directory of a few, places for torchvision's files."""
    root = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    for side in (32, 64):
        for number in range(1000):
            folder = root / f"imagenet{side}" / f"n{number:04d}"
            folder.mkdir(parents=True)
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "0.png", compress_level=0)
    faces = root / "celeba" / "img_align_celeba"
    faces.mkdir(parents=True)
    Image.fromarray(np.zeros((218, 178, 3), np.uint8)).save(faces / "000001.jpg")
    (root / "celeba" / "list_attr_celeba.txt").write_text("1\nMale Young\n000001.jpg -1  1\n")
    for name in ("cifar10", "mnist"):
        (root / name).mkdir()
    return {folder.name: folder for folder in root.iterdir()}


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that passes for Inception's weights, which are not shipped: a plan only knows them by their hash."""
    path = tmp_path / "inception.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(b"weights").hexdigest())
    return path


def moved(name: str, images: dict[str, Path]) -> dict[str, str]:
    """Where the sets of a recipe lie here."""
    data = Sweep.load(name).data
    both = {"sensitive": data.sensitive, "public": data.public}
    roots = {role: getattr(source, "root", None) for role, source in both.items()}
    return {f"data.{role}.root": str(images[Path(root).name]) for role, root in roots.items() if root}


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*TABLE5, *OTHERS])
def test_it_is_planned(name: str, images: dict[str, Path], inception: Path, privimage: Cli, tmp_path: Path) -> None:
    sets = [word for key, path in moved(name, images).items() for word in ("--set", f"{key}={path}")]
    options = ("--no-estimate", "--root", tmp_path / "runs", "--set", f"features.inception={inception}")
    code, said, err = privimage("plan", name, *sets, *options)
    assert code == 0, err
    assert "State epsilon" in said and "refused" not in said.lower()
    assert "would count" not in said + err  # the noise of the query does not hide what is asked


@pytest.mark.parametrize("name", TABLE5)
def test_the_settings_are_those_of_the_paper(name: str) -> None:
    epsilons, delta, size, q, steps, sigma, k1 = TABLE5[name]
    sweep = Sweep.load(name)
    assert tuple(budget.epsilon for budget in sweep.budgets) == epsilons
    assert {budget.delta for budget in sweep.budgets} == {delta}
    method = sweep.configuration({}).model_dump()
    finetune, sample, pretrain = method["finetune"], method["sample"], method["pretrain"]
    assert method["model"]["size"] == size and method["select"]["ratio"] == 0.05
    assert finetune["q"] == pytest.approx(q, rel=1e-3) and finetune["steps"] == steps
    assert (finetune["C"], finetune["K"], finetune["optimizer"], finetune["lr"]) == (1e-3, 8, "adam", 3e-4)
    assert (method["query"]["sigma"], method["query"]["k1"]) == (sigma, k1)
    iterations = 42_000 if "celeba" in name else 128_000
    assert (pretrain["images"], pretrain["batch"], pretrain["lr"]) == (iterations * 2048, 2048, 1e-4)
    assert (sample["solver"], sample["steps"], sample["guidance"], sample["detail_below"]) == ("euler", 50, 0, 0)
    function = SemanticsConfig(network="resnet50", steps=9400, batch=8192, lr=0.01, augment="mirror")  # Table 7
    assert method["query"]["function"] == function.model_dump()


@pytest.mark.parametrize("name", [*TABLE5, *OTHERS])
def test_rows_differ_in_nothing_that_the_paper_holds_fixed(name: str) -> None:
    """Settings that suit a method on small sets must not stand in for those of the paper."""
    sweep = load_sweep(RECIPES / f"{name}.yaml")
    base = sweep.configuration({}).model_dump()
    for row in sweep.compare:
        if row.method == "real" or getattr(load(row.method), "adversarial", False):
            continue
        own = sweep.configuration(sweep.overrides_of(row)).model_dump()
        for part in ("pretrain", "finetune", "sample"):
            assert own[part] == base[part], (row, part)


@pytest.mark.parametrize("name", TABLE6)
def test_the_settings_of_gans_are_those_of_the_paper(name: str) -> None:
    size, pretrained, tuned, ratio, lr = TABLE6[name]
    sweep = load_sweep(RECIPES / f"{name}.yaml")
    base = sweep.configuration({}).model_dump()
    rows = {row.method: sweep.configuration(sweep.overrides_of(row)).model_dump() for row in sweep.compare}
    gans = {method: own for method, own in rows.items() if getattr(load(method), "adversarial", False)}
    assert gans.keys() == ({"privimage+g", "nonpriv-g"} if "table3" in name else {"privimage+g", "dpgan-p", "dpgan"})
    for method, own in gans.items():
        pretrain, finetune = own["pretrain"], own["finetune"]
        assert own["model"]["size"] == size
        assert (own["query"], own["select"]) == (base["query"], base["select"])
        if method != "dpgan":
            assert (pretrain["images"], pretrain["batch"], pretrain["lr"]) == (pretrained * 5 * 64, 64, 2e-4)
            assert pretrain["follow"] == {"every": 5, "times": 1, "batch": 64, "lr": 2e-4}
        assert (finetune["steps"], finetune["K"], finetune["lr"]) == (tuned * ratio, 1, lr)
        assert (finetune["optimizer"], finetune["momentum"], finetune["final_lr"]) == ("adam", 0.5, 1)
        assert finetune["q"] * (202_599 if "celeba" in name else 50_000) == pytest.approx(16_384, rel=1e-3)
        assert finetune["C"] == (base["finetune"]["C"] if method == "nonpriv-g" else 1)
        follow = finetune["follow"]
        assert (follow["every"], follow["times"], follow["lr"]) == (ratio, 1, 2e-4)


def test_figure_7_has_every_ratio_and_size() -> None:
    sweep = Sweep.load("fig7_ratio_and_size")
    rows = [sweep.configuration(sweep.overrides_of(row)).model_dump() for row in sweep.compare[:-1]]
    rows.append(sweep.configuration({}).model_dump())
    points = {(row["select"]["ratio"], row["query"]["k1"], row["model"]["size"]) for row in rows}
    small = "unet-1.75m"
    assert points == {
        (0.01, 1, small), (0.05, 5, small), (0.1, 10, small), (0.2, 20, small), (0.5, 50, small),
        (0.05, 5, "unet-3.96m"), (0.05, 5, "unet-6.08m"), (0.05, 5, "unet-15.7m"), (0.05, 5, "unet-27.9m"),
    }  # fmt: skip
