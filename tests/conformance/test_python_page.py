"""The page "From Python" shows code that runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privimage.errors import InputError, NotDone

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow  # a whole sweep, and what each command says of it
def test_every_block_runs(
    local_ray: None,
    write_sweep: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    privimage: Callable[..., tuple[int, str, str]],
) -> None:
    write_sweep(name="scans").rename(tmp_path / "scans.yaml")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    printed = []
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
        printed.append(capsys.readouterr().out)
    assert len(BLOCKS) == 7 and len(names["trials"]) == 4
    assert np.bincount(names["y"]).tolist() == [3, 7] and names["x"].shape == (10, 1, 28, 28)
    assert set(names["best"].sample(labels={"c02": 2})[1]) == {2}
    assert printed[-1].startswith("method.select.ratoi: unknown key, did you mean 'ratio'?")
    # the commands say the same
    sentence = names["best"].guarantee.sentence
    _, said, _ = privimage("status", "runs/scans")
    assert all(line in said for line in names["done"].statement())
    assert privimage("front", "runs/scans", "--metric", "accuracy[lr]")[0] == 0
    code, said, _ = privimage("best", "runs/scans", "--epsilon", 10, "--metric", "accuracy[lr]", "--to", "again")
    assert code == 0 and sentence in said and names["best"].config.trial in said
    code, said, _ = privimage("sample", "again", "--n", 30, "--seed", 7, "--to", "x.npz")
    assert code == 0 and sentence in said
    x, _ = names["best"].sample(n=30, seed=7)
    assert np.array_equal(np.load("x.npz")["x"], x)


def test_refusals_are_the_lines_of_the_commands(
    write_sweep: Callable[..., Path],
    tmp_path: Path,
    privimage: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from privimage import Bundle, Run, Sweep, plan, run

    monkeypatch.chdir(tmp_path)
    file = write_sweep()
    (tmp_path / "taken").write_text("")
    sweep = Sweep.load(file)
    for call, words in (
        (lambda: Sweep.load(file, set={"trials": "many"}), ("plan", file, "--set", "trials=many")),
        (lambda: Sweep.load("none.yaml"), ("plan", "none.yaml")),
        (lambda: plan(sweep, root="taken"), ("plan", file, "--root", "taken")),
        (lambda: run(sweep, root="taken/runs"), ("sweep", file, "--root", "taken/runs")),
        (lambda: Run("none"), ("status", "none")),
        (lambda: Run(tmp_path).report(), ("report", tmp_path)),
        (lambda: Bundle("none"), ("sample", "none", "--to", "x.npz")),
    ):
        with pytest.raises(InputError) as refused:
            call()
        code, _, said = privimage(*words)
        assert code == 2 and said.strip() == f"privimage: {refused.value}"


def test_trials_that_failed_are_named(monkeypatch: pytest.MonkeyPatch, write_sweep: Callable[..., Path]) -> None:
    from privimage import Sweep, run
    from privimage.sweeps import run as runs

    def failing(sweep: Sweep, *, root: Any, **options: Any) -> runs.Outcome:
        return runs.Outcome(folder=root.run(sweep.name), failures=("trial 1: it burnt", "trial 2: it drowned"))

    monkeypatch.setattr(runs, "run_sweep", failing)
    with pytest.raises(NotDone, match=r"runs/tiny: not done; mend what failed, and run the same") as error:
        run(Sweep.load(write_sweep()))
    assert error.value.failures == ("trial 1: it burnt", "trial 2: it drowned")
    assert error.value.__notes__ == ["failed: trial 1: it burnt", "failed: trial 2: it drowned"]
