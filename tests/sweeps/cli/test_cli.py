"""The command line refuses what it cannot run: exit code 2, one line, nothing charged, Ray not started."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

NO_ADDRESS = "127.0.0.1:6"  # nobody listens there


@dataclass(frozen=True)
class Bad:
    """One bad input: what is set or changed, and what its line must say."""

    id: str
    says: tuple[str, ...]
    set: tuple[str, ...] = ()
    changed: dict[str, Any] = field(default_factory=dict)
    text: str | None = None  # the whole file instead
    file: str | None = None  # another path instead
    bug: str = ""  # why this one is known to fail today


def one(key: str, value: str, *says: str, bug: str = "") -> Bad:
    return Bad(id=f"{key}={value}"[:60], set=(f"{key}={value}",), says=says, bug=bug)


BAD = (
    one("method.selct", "{}", "method.selct", "did you mean 'select'"),
    one("method.query.sgma", "3", "method.query.sgma", "did you mean 'sigma'"),
    one("finetune", "{q: 0.1}", "finetune: unknown key, did you mean 'method.finetune' or"),
    one("cpu", "2", "cpu: unknown key, did you mean 'resources.cpu'?"),
    one("resources.wrkers", "2", "resources.wrkers", "did you mean 'workers'"),
    one("resources.memory", "1.0e+300", "resources.memory: got 1e+300", "100000"),
    one("resources.gpu", "1.0e-320", "resources", "gpu: got 1e-320", "0.0001"),
    one("resources.workers", "9223372036854775807", "resources.workers", "100000"),
    Bad(
        id="features.inception=half a character",
        set=('features.inception="\\ud800"',),
        says=("features.inception", "not UTF-8"),
    ),
    one("budgets", "[{epsilon: 0, delta: 1.0e-5}]", "budgets.0.epsilon", "got 0", "greater than 0"),
    one("budgets", "[{epsilon: ten, delta: 1.0e-5}]", "budgets.0.epsilon", "'ten'", "number"),
    one("budgets", "[{epsilon: 1, delta: 1}]", "budgets.0.delta", "got 1", "less than 1"),
    one("budgets", "[{epsilon: 1, delta: 0.05}]", "budgets", "delta 0.05", "most 0.01"),
    one("budgets", "[{epsilon: 1}]", "budgets.0.delta", "missing"),
    one("budgets", "[]", "budgets", "at least 1"),
    one("budgets.0.epsilon", "0", "budgets.0.epsilon", "got 0", "greater than 0"),
    one("budgets.2.epsilon", "3", "budgets.2: got '2'; the list has the entries 0 to 1"),
    one("budgets.epsilon", "3", "budgets.epsilon: got 'epsilon'; the list has the entries 0 to 1"),
    one("search.method.query.sigma", "5", "search.method.query.sigma: got 5", "{choice: [..]}"),
    one("search.method.query.sgma", "{choice: [5]}", "method.query.sgma", "did you mean 'sigma'"),
    one("method.name", "dpgann", "method.name", "'dpgann'", "privimage+d"),
    one("method.model.size", "xl", "method.model.size", "'xl'", "dct-mlp-192"),
    one("compare", "[dpdn]", "compare", "'dpdn'", "dpdm"),
    one("objectives", '{"accuracy[lrr]": max}', "objectives", "accuracy[lrr]", "did you mean 'accuracy[lr]'"),
    one("objectives", '{"accuracy[lr]": min}', "objectives", "accuracy[lr]", "min"),
    one("metrics", "[fid]", "metrics", "'fid'", "fid[inception]"),
    one("method.select.ratio", "0.001", "method.select.ratio", "0.001", "at least 0.15"),
    one("method.select.ratio", "2", "method.select.ratio", "got 2", "less than or equal to 1"),
    one("method.finetune.q", "0.001", "method.finetune.q", "0.001", "training images the expected batch"),
    Bad(
        id="a query beyond the budget",
        set=("method.query.sigma=0.2", "search={}"),
        says=("method.query.sigma", "epsilon 1,", "epsilon 33"),
    ),
    one("method.query.sigma", "ten", "method.query.sigma", "'ten'"),
    one("method.finetune", "{engine: opacus, precision: bf16}", "method.finetune", "'opacus'", "fp32", "use auto"),
    one("method.pretrain.precision", "fp16", "method.pretrain.precision", "'fp16'", "'tf32' or 'bf16'"),
    Bad(
        id="k1 beyond the public classes",
        set=("method.query.k1=100",),
        says=("method.query.k1", "100", "20"),
    ),
    one("search", "{method.select.ratoi: {choice: [1]}}", "method.select.ratoi", "did you mean 'ratio'"),
    one("search", "{seed: {choice: [1]}}", "search.seed", "only fields of method"),
    one("search", "{method.select.ratio: {choice: []}}", "search.method.select.ratio", "got []", "at least 1"),
    one("search", "{method.select.ratio: {uniform: [0.9, 0.1]}}", "search.method.select.ratio", "0.9", "below"),
    one("search", "{method.select.ratio: {chioce: [0.5]}}", "search.method.select.ratio", "chioce", "{choice: [..]}"),
    one("search", "{method.select.ratio: 5}", "search.method.select.ratio", "got 5", "{choice: [..]}"),
    one("search", "{method.select.ratio: {choice: [0.5, 2]}}", "search.method.select.ratio", "got 2"),
    one("search", "{method.select.ratio: {choice: [0.5, 0.001]}}", "search.method.select.ratio", "0.001", "at least"),
    one("search", "{method.query.sigma: {choice: [a]}}", "search.method.query.sigma", "'a'"),
    one(
        "data.sensitive.name",
        "x-rays",
        "data.sensitive.name: got 'x-rays'; unknown; known: celeba, cifar10, cifar100, csv, digits, emnist",
    ),
    one("data.sensitive.nam", "folder", "data.sensitive.nam: unknown key, did you mean 'name'?; allowed: channels"),
    one("data.sensitive", "digits", "data.sensitive: got 'digits'; should be a mapping of keys"),
    one("data.sensitive.id", "Scans_2026", "data.sensitive.id: got 'Scans_2026'; use lower-case letters, digits, '.'"),
    one("seeds", "3", "seeds: got 3; should be a list, e.g. [3]"),
    one("budgets", "{epsilon: 1, delta: 1.0e-5}", "budgets: got {", "a list, e.g. [{'epsilon': 1, 'delta': 1e-05}]"),
    one("data.sensitive.root", "/nowhere", "data.sensitive", "/nowhere", "no such folder"),
    one("data.public.root", "SENSITIVE", "data.public: more than 1% of the sensitive images are among its images too"),
    one(
        "tuning",
        "{mode: public, stand_in: {name: folder, root: SENSITIVE}}",
        "tuning.stand_in: ",
        "more than 1% of the sensitive images are among its images too",
    ),
    one("data.public.root", "/nowhere", "/nowhere", "no such folder"),
    one("data.sensitive.root", "CORRUPT", "CORRUPT/", ".png: damaged"),
    one("data.sensitive.root", "EMPTY", "EMPTY/b", "empty class"),
    one("data.public.size", "32", "data", "(1, 32, 32)", "(1, 28, 28)"),
    one("trials", "-1", "trials", "got -1", "greater than or equal to 0"),
    one("name", "store", "name", "'store'", "reserved"),
    one("name", "../up", "name", "'../up'", "use letters, digits"),
    one("tuning.mode", "adaptive", "tuning", "explore, select or public"),
    one("tuning.mode", "select", "objectives", "accuracy[lr]", "dp-accuracy[lr]"),
    one("tuning", "{mode: select, sampler: tpe}", "tuning.sampler", "'tpe'", "independent", "use random"),
    one("tuning", "{mode: select, covers: sweep}", "tuning.covers", "unknown key", "eta"),
    one("tuning.covers", "sweep", "tuning.covers", "2 budgets", "covers: trial"),
    one("tuning", "{mode: public, stand_in: {share: 0.01}}", "tuning.stand_in.share", "0.01", "at least 0.15"),
    one("tuning", "{mode: public, stand_in: {name: mnist}}", "tuning.stand_in", "root"),
    one("search", "{method.finetune.q: {uniform: [0.1, 0.2]}}", "search.method.finetune.q", "{choice: [..]}"),
    Bad(
        id="a selection with two scores",
        set=("tuning.mode=select", 'objectives={"dp-accuracy[lr]": max}', 'metrics=["dp-accuracy[cnn]"]'),
        says=("metrics", "one private score"),
    ),
    Bad(
        id="a selection with two seeds",
        set=("tuning.mode=select", 'objectives={"dp-accuracy[lr]": max}', "seeds=[0, 1]"),
        says=("seeds", "[0, 1]"),
    ),
    Bad(
        id="a selection without DP-SGD",
        set=("tuning.mode=select", 'objectives={"dp-accuracy[lr]": max}', "method.name=selection-only"),
        says=("method.name: got selection-only", "noise from the budget"),
    ),
    Bad(
        id="a sweep whose query is beyond its budget",
        set=("tuning.covers=sweep", "budgets=[{epsilon: 0.2, delta: 1.0e-5}]"),
        says=("epsilon 0.2", "shared answers alone cost", "give them more noise: method.query.sigma"),
    ),
    Bad(
        id="two budgets that each have to hold an answer that takes all of one",
        set=(
            "tuning.mode=public",
            "tuning.stand_in.share=0.3",
            "method.name=privimage+m",
            "search={method.sample.guidance: {choice: [0, 1]}}",
        ),
        says=("epsilon 1", "method.means.sigma: null takes all that a budget allows", "a sweep of each budget"),
    ),
    Bad(id="set without =", set=("method.query.sigma",), says=("--set", "method.query.sigma", "KEY=VALUE")),
    Bad(id="set not YAML", set=("trials=[",), says=("--set trials", "YAML")),
    Bad(id="no such file", file="missing.yaml", says=("missing.yaml", "no such file")),
    Bad(id="not YAML", text="name: [", says=("sweep.yaml", "not valid YAML")),
    Bad(id="a list", text="- 1\n- 2\n", says=("sweep.yaml", "expected a mapping", "list")),
    Bad(id="not text", text="\x00\x01", says=("sweep.yaml", "not valid YAML")),
    Bad(id="empty file", text="", says=("sweep.yaml", "expected a mapping")),
    Bad(
        id="a corner at the second budget",
        changed={
            "budgets": [{"epsilon": 10, "delta": 1e-5}, {"epsilon": 0.2, "delta": 1e-5}],
            "search": {"method.query.sigma": {"choice": [6, 100]}},
        },
        set=("method.query.sigma=100",),
        says=("search.method.query.sigma", "epsilon 0.2"),
    ),
)

RUNNER = """
import contextlib, io, json, pathlib, sys
from privimage.sweeps.cli import main
answers = []
for arguments in json.loads(sys.stdin.read()):
    root = arguments[arguments.index("--root") + 1]
    sys.argv, said = ["privimage", *arguments], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            code = repr(error)
    ray = sys.modules.get("ray")
    started = ray is not None and ray.is_initialized()
    if started:
        ray.shutdown()
    charged = list(map(str, pathlib.Path(root).rglob("ledgers/*.jsonl")))
    answers.append({"code": code, "said": said.getvalue(), "ray": started, "charged": charged})
print("ANSWERS" + json.dumps(answers))
"""


def arguments(bad: Bad, folder: Path, values: dict[str, Any]) -> list[str]:
    """The command line of one bad input, its files written under `folder`."""
    folder.mkdir()
    file = folder / (bad.file or "sweep.yaml")
    if bad.file is None:
        file.write_text(bad.text if bad.text is not None else yaml.safe_dump(values | bad.changed))
    for kind in ("EMPTY", "CORRUPT"):
        for label in "ab":
            (folder / kind / label).mkdir(parents=True)
            image = Path(values["data"]["sensitive"]["root"], "c00", "0.png").read_bytes()
            for i in range(20 * (kind != "EMPTY" or label != "b")):
                (folder / kind / label / f"{i}.png").write_bytes(image[:100] if kind == "CORRUPT" else image)
    pairs = [pair.replace("=EMPTY", f"={folder}/EMPTY").replace("=CORRUPT", f"={folder}/CORRUPT") for pair in bad.set]
    pairs = [pair.replace("SENSITIVE", values["data"]["sensitive"]["root"]) for pair in pairs]
    sets = [part for pair in pairs for part in ("--set", pair)]
    return ["sweep", str(file), "--root", str(folder / "runs"), "--quiet", *sets]


@pytest.fixture(scope="module")
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_values: Callable[[], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What the command line answered to the bad inputs that are tested: in one fresh process, so that Ray's absence
    shows."""
    root = tmp_path_factory.mktemp("bad")
    tested = {
        item.callspec.id for item in request.session.items if item.path == request.path and hasattr(item, "callspec")
    }
    asked = [bad for bad in BAD if bad.id in tested]
    orders = [arguments(bad, root / str(i), tiny_values()) for i, bad in enumerate(asked)]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert "ANSWERS" in done.stdout, done.stderr[-2000:]
    found = json.loads(done.stdout.split("ANSWERS")[1])
    return {bad.id: answer for bad, answer in zip(asked, found, strict=True)}


CASES = [  # every third is quick
    pytest.param(
        bad,
        id=bad.id,
        marks=[pytest.mark.xfail(strict=True, reason=bad.bug)] * bool(bad.bug) + [pytest.mark.thorough] * bool(i % 3),
    )
    for i, bad in enumerate(BAD)
]


@pytest.mark.parametrize("bad", CASES)
def test_a_bad_input_ends_in_one_line_before_anything_is_charged(bad: Bad, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[bad.id]
    assert answer["code"] == 2, answer
    lines = answer["said"].strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("privimage: "), answer["said"]
    for words in bad.says:
        assert words in lines[0]
    assert answer["charged"] == []
    assert not answer["ray"]


def test_ids_of_the_table_are_distinct() -> None:
    assert len({bad.id for bad in BAD}) == len(BAD)


def privimage(*args: object, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    script = "from privimage.sweeps.cli import main; main()"
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


@pytest.mark.slow
def test_an_address_that_nobody_answers(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    start = time.monotonic()
    done = privimage("sweep", write_sweep(), "--root", tmp_path / "runs", "--address", NO_ADDRESS, "--quiet")
    assert done.returncode == 2, done.stderr[-1000:]
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith(f"privimage: --address: cannot reach a Ray cluster at {NO_ADDRESS}")
    )
    assert not list((tmp_path / "runs").rglob("ledgers/*.jsonl"))
    assert time.monotonic() - start < 120


def test_help_and_unknown_words_need_no_ray(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from privimage.sweeps.cli import main

    for words, code, says in (
        (["sweep", "--help"], 0, "Example: privimage sweep"),
        (["sweap"], 2, "sweap"),
        (["sweep", "x.yaml", "--sett", "a=1"], 2, "--sett"),
        (["status", "/nowhere"], 2, "/nowhere"),
        (["ledger", "show", "/nowhere"], 2, "/nowhere"),
    ):
        monkeypatch.setattr("sys.argv", ["privimage", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert caught.value.code == code and says in said.out + said.err


def test_a_sweep_without_its_extra_is_refused_in_one_line(
    privimage: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # as if it were not installed
    said = "privimage: optuna: not installed, and a sweep runs on it; pip install 'privimage[sweep]'\n"
    assert privimage("sweep", "demo") == (2, "", said)


def test_a_root_that_is_no_folder_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    write_sweep: Callable[..., Path],
    tmp_path: Path,
) -> None:
    from privimage.sweeps.cli import main

    (tmp_path / "file").write_text("x")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").write_text("in the way")
    (tmp_path / "locked" / "tiny" / "sweep.lock").mkdir(parents=True)  # as unwritable as a read-only folder
    for verb, root, says in (
        ("plan", "file", "--root: got "),
        ("sweep", "file", "is not a folder; give a folder"),
        ("sweep", "file/below", "file is not a folder"),
        ("sweep", "runs", "runs/tiny: cannot be written (File exists); give another --root"),
        ("sweep", "locked", "locked/tiny: cannot be written (Is a directory)"),
    ):
        monkeypatch.setattr("sys.argv", ["privimage", verb, str(write_sweep()), "--root", str(tmp_path / root)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr().err.replace("calibrating the noise", "").strip()
        assert caught.value.code == 2 and said.startswith("privimage: ") and says in said and "\n" not in said


def test_the_version_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import version

    from privimage.sweeps.cli import main

    monkeypatch.setattr("sys.argv", ["privimage", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0 and capsys.readouterr().out == f"privimage {version('privimage')}\n"
