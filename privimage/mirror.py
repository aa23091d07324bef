"""Mirror: the bucket that a root is, as its working folder on this machine knows it.

A root that is a bucket, s3://bucket/folder, has a working folder on every machine, in which a file `.bucket` holds the
URL. What has to last is put into the bucket first and then into the folder, under the same name: the bucket is the
truth, and the folder a copy that may be lost. Files of lines are an object a line in the bucket, so that machines that
add to one never overwrite each other.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from privimage.bucket import Bucket, is_bucket
from privimage.errors import InputError

MARK = ".bucket"
DEEPEST = 5  # folders between a file and the root


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """The working folder `root` of the bucket."""

    root: Path
    bucket: Bucket

    def name(self, path: Path) -> str:
        """What a file of the working folder is called in the bucket."""
        return path.absolute().relative_to(self.root).as_posix()

    def put(self, path: Path, raw: bytes) -> None:
        """Have the bucket hold what the file is about to."""
        self.bucket.put(self.name(path), raw)

    def add(self, path: Path, line: bytes) -> None:
        """Have the bucket hold a line that is about to be added to the file; by name, lines are in order of time."""
        self.bucket.put(f"{self.name(path)}/{time.time_ns():020d}-{self.digest(line)}", line)

    @staticmethod
    def digest(line: bytes) -> str:
        """What the name of a line ends in."""
        return hashlib.sha256(line).hexdigest()[:16]


def mirror_of(path: Path) -> Mirror | None:
    """The mirror that a file or folder lies in; None where the root is no bucket. Raises InputError as Bucket.open."""
    whole = path.absolute()
    for folder in (whole, *whole.parents)[: DEEPEST + 1]:
        try:
            url = (folder / MARK).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno == errno.ELOOP:
                continue  # a link that leads nowhere: whoever opens a folder there says so
            raise InputError(f"{folder / MARK}: cannot be read; it should hold the URL of the root's bucket") from None
        if not is_bucket(url):
            raise InputError(f"{folder / MARK}: got '{url:.80}'; it should hold the URL of the root's bucket")
        return Mirror(root=folder, bucket=Bucket.open(url))
    return None


def working_folder(url: str) -> Path:
    """Where the bucket of that URL is mirrored on this machine: below PRIVIMAGE_CACHE, else the user's cache folder."""
    chosen = os.environ.get("PRIVIMAGE_CACHE") or os.environ.get("XDG_CACHE_HOME")
    above = Path(chosen) if chosen else Path("~/.cache").expanduser()
    return above.absolute() / "privimage" / "roots" / hashlib.sha256(url.encode()).hexdigest()[:16]
