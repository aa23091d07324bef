"""The README as an index shows it: its pictures and links lead to the repository, of which it knows the address."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = runpy.run_path(str(ROOT / "setup.py"))
TARGETS = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """README and docs, one commit, no remote."""
    folder = tmp_path.resolve() / "checkout"
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "README.md", folder)
    (folder / "LICENSE").touch()
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "one")
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout.strip()


def files_of(text: str) -> list[tuple[str, str]]:
    """(! of a picture, target) of all links but those within the page."""
    return [(picture, target) for picture, target in TARGETS.findall(text) if not target.startswith("#")]


@pytest.mark.parametrize(
    ("remote", "page", "raw"),
    [
        ("https://github.com/some/privimage.git", "https://github.com/some/privimage/blob/", "https://raw.githubusercontent.com/some/privimage/"),
        ("git@github.com:some/privimage.git", "https://github.com/some/privimage/blob/", "https://raw.githubusercontent.com/some/privimage/"),
        ("https://gitlab.com/some/privimage", "https://gitlab.com/some/privimage/-/blob/", "https://gitlab.com/some/privimage/-/raw/"),
    ],
)  # fmt: skip
def test_every_link_leads_to_a_file_of_the_commit(checkout: Path, remote: str, page: str, raw: str) -> None:
    git(checkout, "remote", "add", "origin", remote)
    commit = git(checkout, "rev-parse", "HEAD")
    before, after = files_of((checkout / "README.md").read_text()), files_of(SETUP["description"](checkout))
    assert len(before) == len(after) > 20 and sum(picture == "!" for picture, _ in after) >= 2
    for (picture, was), (_, target) in zip(before, after, strict=True):
        expected = was if "://" in was else f"{raw if picture else page}{commit}/{was}"
        assert target == expected
        assert "://" in was or (checkout / was.split("#")[0]).exists(), was


@pytest.mark.parametrize("remote", [None, "/some/folder", "https://example.com/some/privimage.git"])
def test_without_an_address_it_stays_as_it_is(checkout: Path, remote: str | None) -> None:
    if remote is not None:
        git(checkout, "remote", "add", "origin", remote)
    assert SETUP["description"](checkout) == (checkout / "README.md").read_text()


def test_a_folder_in_a_checkout_of_something_else_has_no_address(checkout: Path) -> None:
    git(checkout, "remote", "add", "origin", "https://github.com/some/other.git")
    inner = checkout / "vendored"
    inner.mkdir()
    (inner / "README.md").write_text("[a](b.md)")
    (inner / "b.md").touch()
    assert SETUP["description"](inner) == "[a](b.md)"


def test_a_source_distribution_keeps_what_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("[a](b.md)")
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: privimage\n\n[ä](https://github.com/x/y/b.md)\n")
    assert SETUP["description"](tmp_path) == "[ä](https://github.com/x/y/b.md)\n"
