"""Making the working folder of a root that is a bucket, and pulling what the bucket has of a run."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from privimage import disk
from privimage.address import ADDRESS
from privimage.bucket import Bucket, is_bucket, without_slash
from privimage.disk import on_disk, private_folder
from privimage.errors import InputError
from privimage.mirror import MARK, Mirror, mirror_of, working_folder

AT_ONCE = 16
LEASE = "lease.json"
PUBLIC = "store/public"  # which images public sets were: see public_content.py
LEDGERS = "ledgers"


def made(url: str, *, at: Path | None = None) -> Path:
    """The working folder of the bucket at that URL, made if it is missing; `at` says where, as on another machine.

    Raises InputError if the bucket cannot be used.
    """
    plain = without_slash(url)
    folder = working_folder(plain) if at is None else at
    Bucket.open(plain)
    with on_disk(folder):
        private_folder(folder)
        private_folder(folder / LEDGERS)
        for path, text in ((folder / LEDGERS / ADDRESS, f"{plain}/{LEDGERS}"), (folder / MARK, plain)):
            if not path.exists() or path.read_text() != text:
                _replace(path, text.encode())
    return folder


def pull(run: Path, *, lines_only: bool = False) -> None:
    """Have the folder of a run hold what the bucket has of it; nothing where the root is no bucket.

    Files are those of the bucket, and files of lines have its lines, in order of time; each line is fetched once. With
    `lines_only` other files are left, as while they may be written here.
    """
    mirror = mirror_of(run)
    if mirror is None:
        return
    lines: dict[str, list[str]] = {}
    files = []
    for name in (*mirror.bucket.names(mirror.name(run)), *mirror.bucket.names(PUBLIC)):
        of, _, line = name.rpartition("/")
        if of.endswith(".jsonl"):
            lines.setdefault(of, []).append(line)
        elif line != LEASE and not lines_only:
            files.append(name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, raw in zip(files, pool.map(lambda name: _fetched(mirror, name), files), strict=True):
            if raw is None:
                continue
            path = mirror.root / name
            with on_disk(path):
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                if not path.exists() or path.read_bytes() != raw:
                    _replace(path, raw)
    for of, names in lines.items():
        _merge(mirror, of, names)


def pulled_run(address: str) -> Path:
    """The folder of the run s3://bucket/folder/NAME in the working folder of s3://bucket/folder, as it is now.

    Raises InputError if the bucket cannot be used, or has no such run.
    """
    expected = "expected s3://bucket/folder/NAME, the URL of a root and the name of a run"
    url, _, name = address.rstrip("/").rpartition("/")
    if not is_bucket(url) or name.startswith("."):
        raise InputError(f"{address}: is no run; {expected}")
    run = made(url) / name
    pull(run)
    if not run.is_dir():
        raise InputError(f"{address}: no such run; {expected}")
    return run


def pulled_ledger(address: str) -> Path:
    """The file of the ledger s3://bucket/folder/ledgers/ID.jsonl in the working folder of s3://bucket/folder."""
    url, mark, name = address.rpartition(f"/{LEDGERS}/")
    if not mark or "/" in name:
        raise InputError(f"{address}: expected s3://bucket/folder/{LEDGERS}/ID.jsonl, the ledger of a set in a root")
    return made(url) / LEDGERS / name


def _merge(mirror: Mirror, of: str, names: list[str]) -> None:
    """Have a file hold the lines of these names, in their order, and what was added here since they were listed."""
    path = mirror.root / of
    digests = {name: name.rpartition("-")[2] for name in names}
    with on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(f"{path}.lock"):
            raw = path.read_bytes() if path.exists() else b""
            known = {Mirror.digest(line): line for line in raw.splitlines(keepends=True)}
            missing = [name for name, digest in digests.items() if digest not in known]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                fetched = list(pool.map(lambda name: _fetched(mirror, f"{of}/{name}"), missing))
            whole = [
                line
                for name, line in zip(missing, fetched, strict=True)
                if line and Mirror.digest(line) == digests[name]
            ]
            if whole:  # one that is damaged is left out
                there = known | {Mirror.digest(line): line for line in whole}
                order = dict.fromkeys([*digests.values(), *known])
                _replace(path, b"".join(there[digest] for digest in order if digest in there))


def _fetched(mirror: Mirror, name: str) -> bytes | None:
    """What the bucket has under a name; None if it was there when it was listed, and is no more: what is here stays."""
    found = mirror.bucket.get(name)
    return None if found is None else found.raw


def _replace(path: Path, raw: bytes) -> None:
    """Put the bytes in the place of a file, whoever else does; only its owner can read it."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".pulled")
    os.close(handle)
    try:
        disk.write(Path(draft), raw)
        os.replace(draft, path)
    except OSError:
        os.unlink(draft)
        raise
