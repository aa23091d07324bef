"""Paths as they are typed: an address is refused wherever a path is given, and no folder is made of its name.

But the URL of a bucket may stand for a root, a run and a ledger.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from privimage.errors import InputError
from privimage.paths import Root
from privimage.sweeps.cli import main, terminal

ADDRESSES = ("file:///tmp/runs", "s3:/bucket", "runs/s3://bucket")
BUCKETS = ("s3://bucket/runs", "gs://bucket")
VERBS = (
    ("--root", "plan", "FILE", "--root", "ADDRESS"),
    ("--root", "sweep", "FILE", "--root", "ADDRESS"),
    ("--root", "look", "FILE", "--root", "ADDRESS"),
    ("--root", "ledger", "adopt-data", "FILE", "--root", "ADDRESS"),
    ("FILE.yaml", "plan", "ADDRESS"),
    ("FILE.yaml", "look", "ADDRESS"),
    ("FILE.yaml", "ledger", "adopt-data", "ADDRESS"),
    ("LEDGER", "ledger", "adopt", "ADDRESS"),
    ("FILE.yaml", "sweep", "ADDRESS"),
    ("RUN", "front", "ADDRESS"),
    ("RUN", "report", "ADDRESS"),
    ("RUN", "status", "ADDRESS"),
    ("RUN", "best", "ADDRESS", "--to", "x"),
    ("RUN", "table", "ADDRESS"),
    ("RUN_A", "compare", "ADDRESS", "FOLDER"),
    ("RUN_B", "compare", "FOLDER", "ADDRESS"),
    ("--to", "best", "FOLDER", "--to", "ADDRESS"),
    ("DIR", "sample", "ADDRESS", "--to", "x.npz"),
    ("--to", "sample", "FOLDER", "--to", "ADDRESS"),
    ("LEDGER", "ledger", "show", "ADDRESS"),
    ("LEDGER", "ledger", "verify", "ADDRESS"),
    ("LEDGER", "ledger", "cap", "ADDRESS", "--epsilon", "1", "--delta", "1e-5"),
    ("LEDGER", "ledger", "close", "ADDRESS", "0"),
    ("data.sensitive.root", "plan", "FILE", "--set", "data.sensitive.root=ADDRESS"),
    ("data.public.root", "plan", "FILE", "--set", "data.public.root=ADDRESS"),
    (
        "tuning.stand_in.root",
        "plan",
        "FILE",
        "--set",
        "tuning={mode: public, stand_in: {name: mnist, root: 'ADDRESS'}}",
    ),
)


@pytest.mark.parametrize(
    ("named", "x", "address"),
    [
        pytest.param(named, words, address, marks=[pytest.mark.thorough] * (address != ADDRESSES[0]))
        for named, *words in VERBS
        for address in (*ADDRESSES, *(() if named in terminal.BUCKETS else BUCKETS))
    ],
)
def test_an_address_is_refused_wherever_a_path_is_given(
    named: str,
    x: list[str],
    address: str,
    write_sweep: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, empty = write_sweep(), tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    words = [word.replace("FILE", str(file)).replace("FOLDER", str(tmp_path)).replace("ADDRESS", address) for word in x]
    monkeypatch.setattr("sys.argv", ["privimage", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.startswith(f"privimage: {named}: got '{address}'; that is an address")
    assert said.count("\n") == 1 and list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("s3://no-such-bucket-here/x/ledgers/y.jsonl", "there is no such bucket"),
        ("gs://bucket", "expected"),
        ("s3://bucket//x/ledgers/y.jsonl", "is no bucket"),
        ("s3://bucket/..", "expected"),
    ],
)
@pytest.mark.parametrize(("named", "x"), {named: words for named, *words in VERBS if named in terminal.BUCKETS}.items())
def test_a_bucket_that_is_none_is_refused_where_one_may_stand(
    named: str,
    x: list[str],
    address: str,
    says: str,
    write_sweep: Callable[..., Path],
    bucket_url: str,
    privimage: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if named == "--root" and says == "expected":
        address, says = "s3://", "is no bucket; expected"
    monkeypatch.setenv("PRIVIMAGE_CACHE", str(tmp_path / "cache"))
    known = {"FILE": write_sweep(), "FOLDER": tmp_path, "ADDRESS": address}
    code, out, err = privimage(*(known.get(word, word) for word in x))
    assert (code, out, err.count("\n")) == (2, "", 1) and says in err
    assert err.startswith(f"privimage: {named}: {address.rstrip('/').partition('/x')[0]}")
    assert not (tmp_path / "cache").exists()


def test_a_root_cannot_be_made_of_an_address() -> None:
    """Also where no command line stands in between."""
    with pytest.raises(InputError, match="that is an address"):
        Root(path=Path("s3://bucket"))
    assert Root(path=Path("a:b/c")).path == Path("a:b/c")


def test_a_reader_that_went_away_changes_no_exit_code(tmp_path: Path) -> None:
    """A closed terminal or pipe: the line is lost, and no more."""
    script = "from privimage.sweeps.cli import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    code = subprocess.run([sys.executable, "-c", script, "front", str(tmp_path / "none")], stderr=writer).returncode
    os.close(writer)
    assert code == 2


def test_a_thread_goes_on_without_a_reader() -> None:
    script = (
        "import sys; from privimage.sweeps.cli.terminal import outlive_reader; outlive_reader(); said = sys.stderr\n"
    )
    script += "for _ in range(3): print('x' * 9999, file=said, flush=True)\nsys.exit(7)"
    reader, writer = os.pipe()
    os.close(reader)
    code = subprocess.run([sys.executable, "-c", script], stderr=writer).returncode
    os.close(writer)
    assert code == 7


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_a_terminal_that_lacks_characters_gets_escapes_on_one_line(encoding: str, tmp_path: Path) -> None:
    """Words and file names of any script, in what is printed and in what is refused, also into a narrow pipe."""
    ledger = str(tmp_path / "Ω.jsonl")
    commands = {
        "refused": ("plan", "demo", "--set", "name=Ω†…" + "x" * 150),
        "help": ("sample", "--help"),
        "cap": ("ledger", "cap", ledger, "--epsilon", "5", "--delta", "1e-5"),
        "show": ("ledger", "show", ledger),
    }
    script = (
        "import sys\nfrom privimage.sweeps.cli import main\n"
        f"for name, words in {commands!r}.items():\n"
        "    sys.argv = ['privimage', *words]\n"
        "    try: main()\n"
        "    except SystemExit as end: print(end.code, name, file=sys.stderr, flush=True)\n"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "40", "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    refusal, *codes = done.stderr.splitlines()
    assert refusal.startswith("privimage: ") and "\\u03a9" in refusal
    assert codes == ["2 refused", "0 help", "0 cap", "0 show"]


@pytest.mark.thorough
def test_a_shell_completes_verbs_recipes_and_files(tmp_path: Path) -> None:
    (tmp_path / "digits-mine.yaml").write_text("")
    (tmp_path / "data").mkdir()

    def completed(line: str) -> list[str]:
        words = {"_PRIVIMAGE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        script = "import sys; sys.argv = ['privimage']; from privimage.sweeps.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | words, capture_output=True, text=True
        )
        return done.stdout.split()

    assert completed("privimage sch") == ["schema"]
    assert completed("privimage plan d") == ["demo", "digits", "digits_table", "data/", "digits-mine.yaml"]
    assert completed(f"privimage look {tmp_path}/di") == [f"{tmp_path}/digits-mine.yaml"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep", "--bogus"), "privimage: No such option: --bogus; see: privimage sweep --help"),
        (("best",), "privimage: Missing argument 'RUN'; see: privimage best --help"),
        (("tabel",), "privimage: No such command 'tabel'. Did you mean 'table'?; see: privimage --help"),
        (("sample", "best", "--to", "x.npz", "--n", "some"), "privimage: --n: got 'some'; should be a valid integer"),
        (
            ("render", "slurm", "x.yaml", "--to", "x", "--cpus", "0"),
            "privimage: --cpus: got '0'; should be greater than",
        ),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line(
    words: tuple[str, ...], said: str, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = privimage(*words)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(said)


def test_nothing_asked_is_answered_by_the_help(privimage: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = privimage()
    assert code == 2 and not out and "Commands" in err
