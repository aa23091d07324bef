"""The picture in the plane: of synthetic images it asks nothing; real ones are a look, which a cap refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from privimage.privacy.entries import LookLine
from privimage.privacy.ledger import Ledger
from privimage.sweeps import clouds

if TYPE_CHECKING:
    from whole import Finished

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(finished_sweep: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run with its root."""
    shutil.copytree(finished_sweep.folder.root.path, tmp_path / "runs")
    return tmp_path / "runs" / finished_sweep.folder.path.name


def looks(run: Path) -> list[tuple[str, str]]:
    lines = Ledger(run.parent / "ledgers" / "tiny-v1.jsonl").lines()
    return [(line.split, line.what) for line in lines if isinstance(line, LookLine)]


def test_synthetic_images_are_shown_and_nothing_is_asked(run: Path, privimage: Cli, tmp_path: Path) -> None:
    before = looks(run)
    code, said, _ = privimage("tsne", run, "--to", tmp_path / "t.png", "--n", 20)
    assert code == 0 and said.startswith("State epsilon") and "PRIVATE" not in said
    with Image.open(tmp_path / "t.png") as image:
        assert image.format == "PNG" and "PRIVATE" not in image.info["Description"]
    assert looks(run) == before


@pytest.mark.thorough
def test_real_images_are_a_look_once_for_every_picture(run: Path, privimage: Cli, tmp_path: Path) -> None:
    before = looks(run)
    for _ in range(2):
        code, said, _ = privimage("tsne", run, "--to", tmp_path / "t.png", "--n", 9, "--real")
        assert code == 0 and "PRIVATE" in said
    assert looks(run) == [*before, ("test", clouds.WHAT)]
    assert privimage("tsne", run, "--to", tmp_path / "t.png", "--n", 11, "--real")[0] == 0
    assert looks(run) == [*before, *2 * [("test", clouds.WHAT)]], "more images are another look"


def test_a_set_without_looks_refuses_before_anything_is_read(
    run: Path, privimage: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(run.parent / "ledgers" / "tiny-v1.jsonl").forbid_looks()
    monkeypatch.setattr(clouds, "load_sensitive", lambda config: pytest.fail("images were opened"))
    code, _, err = privimage("tsne", run, "--to", tmp_path / "t.png", "--n", 9, "--real")
    assert code != 0 and "picture of single images" in err and err.count("\n") == 1
    assert not (tmp_path / "t.png").exists()


def test_bad_input_is_one_line(run: Path, privimage: Cli, tmp_path: Path) -> None:
    for words, why in (
        (["--to", tmp_path / "t.jpg"], "ends in .png"),
        (["--to", tmp_path / "t.png", "--network", "vgg"], "allowed: efficientnet-lite0"),
        (["--to", tmp_path / "t.png", "--epsilon", 3], "the budgets of"),
    ):
        code, _, err = privimage("tsne", run, *words)
        assert code == 2 and why in err and err.count("\n") == 1
