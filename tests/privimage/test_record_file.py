"""Records while they come: each line is read and parsed once, and what is found is what a whole look would find."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privimage import lines, record_file
from privimage import record as records
from privimage.appended import Appended
from privimage.errors import InputError
from privimage.metrics.metric import Metric
from privimage.privacy.budget import Budget
from privimage.record import Record
from privimage.record_file import RecordFile, find, so_far
from privimage.sweeps.progress import load_records

MANY = 60
FEW = 20_000  # bytes: a line that is looked at again, and what Python reads by itself


def make(id: str, *, seed: int = 0, config: dict[str, Any] | None = None) -> Record:
    return Record(
        id=id, sweep="s", role="search", method="privimage+d", config=config or {"a": ["x" * 40] * 60}, seed=seed,
        events=(), budget=Budget(epsilon=10, delta=1e-5), paid=(), epsilon_alone=1.5, epsilon_rdp_alone=1.7,
        metrics=(Metric(name="fid", value=1, touches=("synthetic",), direction="min", n=9),), stages=(), artefacts={},
        started="now", seconds=1.0, versions={},
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def read_so_far() -> int:
    """Bytes that this process has read of any file."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_line_is_read_and_parsed_once_whoever_asks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = {"checked": 0, "parsed": 0}
    parse, parsed = lines.parse, records.parsed

    def counted_parse(line: bytes) -> bytes | None:
        done["checked"] += 1
        return parse(line)

    def counted_parsed(text: bytes, *, path: Path, number: int) -> Record:
        done["parsed"] += 1
        return parsed(text, path=path, number=number)

    monkeypatch.setattr(lines, "parse", counted_parse)
    monkeypatch.setattr(record_file, "parsed", counted_parsed)
    for number in range(MANY):
        assert find(path, f"{number}") is None  # a trial, before it begins
        records.append(path, make(f"{number}"))
        found = find(path, f"{number}")  # and when it has ended
        assert found is not None and found.id == f"{number}"
        assert len(load_records(path)) == len(so_far(path)) == number + 1  # the display, every second; the driver
    assert done == {"checked": MANY, "parsed": MANY}
    monkeypatch.undo()
    assert so_far(path) == records.load(path)
    size, before = path.stat().st_size, read_so_far()
    assert find(path, "0") is not None and len(so_far(path)) == MANY
    assert read_so_far() - before < FEW < size / 5, "the file is not read again"


def test_one_record_is_found_without_parsing_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.jsonl"
    assert find(path, "a") is None
    for record in (make("a", seed=1), make("b"), make("a", seed=2), make("c", config={"id": "d"})):
        records.append(path, record)
    path.write_bytes(path.read_bytes() + b"damaged\n" + lines.sealed(make("e").model_dump_json())[:-9])
    parsed, real = list[bytes](), records.parsed
    monkeypatch.setattr(record_file, "parsed", lambda text, **where: parsed.append(text) or real(text, **where))
    found = find(path, "a")
    assert found is not None and found.seed == 2 and len(parsed) == 1
    assert find(path, "d") is None and find(path, "e") is None
    path.write_bytes(lines.sealed('{"id":"f"}'))
    with pytest.raises(InputError, match="line 1 is not a record of this version"):
        find(path, "f")


def of(read: Callable[[], list[Record]]) -> list[Record] | str:
    """What is read, or what is said."""
    try:
        return read()
    except InputError as error:
        return str(error)


def anew(path: Path) -> list[Record]:
    return records.load(path) if path.exists() else []


def change(path: Path, draw: random.Random, number: int) -> None:
    """Something that happens to the records of a run, to lines that were not read yet or by a file in their place."""
    match draw.choice(
        ["append", "append", "append", "again", "tear", "damage", "heal", "replace", "forget", "foreign"]
    ):
        case "append":
            records.append(path, make(f"{number}"))
        case "again":
            records.append(path, make(f"{draw.randrange(number + 1)}", seed=number))
        case "tear":
            with path.open("ab") as file:
                file.write(lines.sealed(make(f"{number}").model_dump_json())[: draw.randrange(1, 900)])
        case "damage":
            with path.open("ab") as file:
                file.write(lines.sealed(make(f"{number}").model_dump_json()).replace(b'"seed":0', b'"seed":7') + b"\n")
        case "foreign":
            with path.open("ab") as file:
                file.write(lines.sealed(f'{{"number":{number}}}'))
        case "heal":
            lines.heal(path)
        case "replace":
            path.unlink(missing_ok=True)
            for other in range(draw.randrange(4)):
                records.append(path, make(f"other-{number}-{other}"))
        case "forget":
            if path.exists():
                whole = path.read_bytes().splitlines(keepends=True)
                path.write_bytes(b"".join(whole[: draw.randrange(len(whole) + 1)]))


def check_history(path: Path, seed: int) -> None:
    draw, here = random.Random(seed), RecordFile(path)
    for number in range(40):
        change(path, draw, number)
        if draw.random() < 0.7:  # else more happens before anybody looks
            expected = of(lambda: anew(path))
            assert of(here.all) == expected, f"step {number} of {seed}"
            assert of(here.all) == expected, "and the same again"


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_to_the_file_the_records_are_those_of_a_whole_look(path: Path, seed: int) -> None:
    check_history(path, seed)


@pytest.mark.parametrize("fault", ["it always goes on", "it forgets nothing"])
def test_a_reader_that_does_not_begin_anew_is_seen(path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "it always goes on":
        monkeypatch.setattr(Appended, "_goes_on", lambda self, file: self._file is not None)
    else:
        monkeypatch.setattr(RecordFile, "_begin", begin_once)
    with pytest.raises(AssertionError):
        for seed in range(25):
            path.unlink(missing_ok=True)
            check_history(path, seed)


def begin_once(self: RecordFile) -> None:
    """Keeps what it knew when the file is another one."""
    if not hasattr(self, "_texts"):
        self._count, self._damaged, self._texts, self._records = 0, False, {}, {}


def test_a_damaged_line_is_an_error_until_it_is_taken_out(path: Path) -> None:
    records.append(path, make("a"))
    assert [record.id for record in so_far(path)] == ["a"]
    with path.open("ab") as file:
        file.write(b'{"id": 1}\n')
    for _ in range(2):
        with pytest.raises(InputError, match="line 2 is damaged; run the sweep's command again"):
            so_far(path)
        assert find(path, "a") == make("a") and find(path, "1") is None
        assert load_records(path) == []
    lines.heal(path)
    records.append(path, make("b"))
    assert [record.id for record in so_far(path)] == ["a", "b"]
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\); expected the records of a run"):
        so_far(path)
