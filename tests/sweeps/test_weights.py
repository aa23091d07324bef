"""`features.inception` names a file: checked by plan and sweep before anything else, and no part of what a sweep is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from privimage.paths import Root
from privimage.privacy.budget import Budget
from privimage.privacy.noise import Noise
from privimage.sweeps import drive
from privimage.sweeps.cli import main
from privimage.sweeps.phase import Phase
from privimage.sweeps.resume import check_same, reservation_of
from privimage.sweeps.sweep import Sweep, load_sweep

FID = ["--set", 'metrics=["fid[inception]"]']


def run(*argv: object) -> int | str | None:
    """The exit status of the command."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["privimage", *map(str, argv)])
        main()
    return ended.value.code


def loaded(write_sweep: Callable[..., Path], path: str | None) -> Sweep:
    return load_sweep(
        write_sweep(), overrides={"metrics": ["fid[inception]"]} | ({"features.inception": path} if path else {})
    )


@pytest.mark.parametrize("command", [["plan", "--no-estimate"], ["sweep"]])
def test_a_file_that_is_wrong_is_refused_before_anything(
    command: list[str], write_sweep: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"no weights")
    for name, why in (("none.pth", "cannot be read (No such file"), ("wrong.pth", "damaged, or of another network")):
        path, root = tmp_path / name, tmp_path / "runs"
        argv = [command[0], write_sweep(), "--root", root, *command[1:], *FID]
        assert run(*argv, "--set", f"features.inception={path}") == 2
        said = [line for text in capfd.readouterr() for line in text.splitlines() if "features.inception" in line]
        assert len(said) == 1 and f"features.inception: {path}: {why}" in said[0]
        assert not list(root.rglob("*.jsonl")), "nothing is charged"


def test_an_unknown_network_names_the_nearest(
    write_sweep: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", write_sweep(), "--set", "features.incepton=x") == 2
    assert "features.incepton: unknown key, did you mean 'inception'?" in capfd.readouterr().err


def test_a_moved_file_changes_no_id_and_no_run(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    here, there, nowhere = (loaded(write_sweep, path) for path in ("w.pth", "/elsewhere/w.pth", None))
    ids = {s.trial(budget=Budget(epsilon=5, delta=1e-5), seed=0, noise=Noise()).id for s in (here, there, nowhere)}
    assert len(ids) == 1 and len({reservation_of(s) for s in (here, there, nowhere)}) == 1
    folder = Root(path=tmp_path / "runs").run(here.name)
    folder.path.mkdir(parents=True)
    folder.sweep.write_text(here.model_dump_json())
    check_same(there, folder)


def test_workers_get_the_absolute_path(
    write_sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(drive, "start_cache", lambda name, near: None)
    folder = Root(path=tmp_path / "runs").run("tiny")
    work: Any = SimpleNamespace(
        sweep=loaded(write_sweep, "w.pth"), folder=folder, public=None, sensitive=None, reservation="r"
    )
    assert drive._site(Phase(work=work, name="x")).weights == tmp_path / "w.pth"
