"""Damage of any kind to a file of lines is known, and healing leaves the lines that are whole."""

from __future__ import annotations

import errno
import json
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privimage import disk, lines
from privimage.disk import write_whole
from privimage.errors import InputError

TEXTS = [json.dumps({"number": number, "text": "x" * (3 * number)}) for number in range(5)]
WHOLE = b"".join(lines.sealed(text) for text in TEXTS)


def write(folder: Path, raw: bytes) -> Path:
    path = folder / "lines.jsonl"
    path.write_bytes(raw)
    return path


def texts(path: Path) -> list[str]:
    found = [lines.parse(line) for line in path.read_bytes().splitlines()]
    assert None not in found
    return [json.dumps(json.loads(text)) for text in found if text is not None]


@given(
    at=st.integers(0, len(WHOLE)),
    length=st.integers(0, 200),
    filling=st.sampled_from(["nul", "gone", "cut", "noise", "digit"]),
    noise=st.binary(max_size=60),
)
@settings(max_examples=300, deadline=None)
def test_only_whole_lines_are_left_after_any_damage(
    tmp_path_factory: object, at: int, length: int, filling: str, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("lines")  # type: ignore[attr-defined]
    end = len(WHOLE) if filling == "cut" else at + length
    hole = WHOLE[at:end]
    fill = {"nul": bytes(len(hole)), "noise": noise, "digit": hole.replace(b"1", b"7")}.get(filling, b"")
    path = write(folder, WHOLE[:at] + fill + WHOLE[end:])
    lines.heal(path)
    left = texts(path)
    assert left == [text for text in TEXTS if text in left], "no line that was never written, in their order"
    assert len(left) >= 5 - hole.count(b"\n") - 2
    lines.append(path, TEXTS[0])
    assert texts(path) == [*left, TEXTS[0]]
    assert lines.heal(path) == 0


def test_what_is_taken_out_is_kept_beside_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE + b"\0" * 50)
    assert lines.heal(path) == 1 and path.read_bytes() == WHOLE
    assert path.with_name("lines.jsonl.damaged").read_bytes() == b"\0" * 50 + b"\n"


def test_a_last_line_that_lacks_its_end_only_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE[:-1])
    assert lines.heal(path) == 1
    assert path.read_bytes() == WHOLE


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder whose disk is full: no process may make files of more than 100 bytes here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize("way", ["append", "heal", "write_whole"])
def test_a_full_disk_is_one_line_that_names_the_file(way: str, full: Path) -> None:
    path = write(full, b"{}\n")
    ways: dict[str, Callable[[], object]] = {
        "append": lambda: lines.append(path, '{"a":"' + "x" * 200 + '"}'),
        "heal": lambda: lines.heal(write(full, b"\0" * 90)),
        "write_whole": lambda: write_whole(path, "x" * 200),
    }
    (full / "lines.jsonl.damaged").write_bytes(b"y" * 90)
    with pytest.raises(InputError, match=r"lines\.jsonl: cannot be written \(File too large\); nothing was lost"):
        ways[way]()


def test_a_full_disk_is_told_to_be_emptied(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was lost; make room, and run the same command again"):
        with disk.on_disk(tmp_path / "a"):
            raise OSError(errno.ENOSPC, "No space left on device")
