"""Damage of any kind to a file of lines is known, and healing leaves the lines that are whole."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from privimage import lines

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
