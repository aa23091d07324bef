"""What pyproject.toml cannot say: links of the README are absolute in a wheel, where the repository has an address.

An index shows the README apart from its folder. The address is that of the remote `origin`; links go to the commit.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
LINK = re.compile(r"(!?)(\[[^\]]*\])\(([^)#\s]+)(#[^)\s]*)?\)")
REMOTE = re.compile(r"(?:https://|ssh://git@|git@)(github\.com|gitlab\.com)[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?")
PAGES = {  # of a file, and of the bytes of a picture
    "github.com": ("https://github.com/{name}/blob/{at}/", "https://raw.githubusercontent.com/{name}/{at}/"),
    "gitlab.com": ("https://gitlab.com/{name}/-/blob/{at}/", "https://gitlab.com/{name}/-/raw/{at}/"),
}


def git(root: Path, *words: str) -> str:
    """What git says in this folder, if it is the top of a checkout; else nothing."""
    try:
        top, said = (
            subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (("rev-parse", "--show-toplevel"), words)
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said if Path(top).resolve() == root else ""


def description(root: Path) -> str:
    """The README, its links to files absolute where that is known; of an unpacked source distribution its own."""
    packed = root / "PKG-INFO"
    if packed.exists():
        return packed.read_text(encoding="utf-8").partition("\n\n")[2]  # behind its fields
    text = (root / "README.md").read_text(encoding="utf-8")
    remote = REMOTE.fullmatch(git(root, "remote", "get-url", "origin"))
    if remote is None:
        return text
    host, name = remote.groups()
    page, raw = (form.format(name=name, at=git(root, "rev-parse", "HEAD")) for form in PAGES[host])

    def absolute(found: re.Match[str]) -> str:
        picture, words, path, place = found.groups(default="")
        return f"{picture}{words}({raw if picture else page}{path}{place})" if (root / path).exists() else found[0]

    return LINK.sub(absolute, text)


if __name__ == "__main__":
    setup(long_description=description(ROOT), long_description_content_type="text/markdown")
