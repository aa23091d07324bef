"""Paths of this machine: what is none is refused, ~ is a home, a link is followed, a device is no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from privimage.disk import write_whole
from privimage.errors import InputError
from privimage.local import local_path, refusal
from privimage.mirror import mirror_of
from privimage.paths import Root


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("s3://bucket/x", "an address"), ("", "no path"), ("a\nb", "control characters"), ("a\udcffb", "not UTF-8"),
        ("~nobody-of-that-name/x", "no such user"),
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused(path: str, says: str) -> None:
    assert says in (refusal(path) or "")
    with pytest.raises(InputError, match=says) as caught:
        local_path(path, named="--root")
    str(caught.value).encode()  # so it can be shown


def test_a_tilde_is_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/x", named="--to") == tmp_path / "x"
    assert Root.at("~/x").path == tmp_path / "x"


def test_a_root_behind_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "lost").symlink_to(tmp_path / "gone")
    for name in ("round", "lost", "lost/below"):
        assert mirror_of(tmp_path / name) is None
        with pytest.raises(InputError, match="leads nowhere"):
            Root.at(tmp_path / name)


def test_what_a_link_names_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "table.csv", tmp_path / "link.csv"
    file.write_text("old")
    link.symlink_to(file)
    write_whole(link, "new")
    assert link.is_symlink() and file.read_text() == "new"


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # which would be read without end
    with pytest.raises(InputError, match="no regular file"):
        write_whole(tmp_path / "pipe", "x")
