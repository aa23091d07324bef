"""BucketChain: a chain in a bucket, an object a line: NAME/00000000.json and so on, and NAME/head.json.

Lines are put only where none is (put-if-absent), so of several writers one makes line 42 and the others read it and
decide again: there is no fork, and no lock that a dead machine could hold. The head is replaced only in the version
that was read (compare-and-swap), and a line is put only behind a head that knows of all before it. A line is never
changed, so this machine keeps a copy of them, in the file of the ledger, and fetches newer ones only.

The copy is of no account, except that it may know of lines that the bucket has lost: then nothing is read.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from filelock import FileLock

from privimage.bucket import Blob, Bucket, conditions_hold
from privimage.disk import make_folder, on_disk, refusal
from privimage.errors import InputError
from privimage.privacy.chain import Decide, Found, Head, RawLine, compared, last_hash, raw_line, read_head, verified

FETCHED_AT_ONCE = 16
FIX = "restore both from one backup of the bucket"


class BucketChain:
    """The chain `name` in the bucket, with a copy in the file `path`. See Chain."""

    def __init__(self, path: Path, *, bucket: Bucket, name: str) -> None:
        self.path = path
        self._bucket, self._name = bucket, name
        self._where = f"{bucket.url}/{name}"

    def read(self) -> Found:
        """See Chain."""
        return self._read()[0]

    def add(self, decide: Decide) -> bool:
        """See Chain."""
        conditions_hold(self._bucket.url)
        while True:
            found, head = self._read()
            if found.head != "agrees":  # its writer was killed, or is about to do this
                self._replace_head(found.lines, before=head)
                continue
            line = decide(found)
            if line is None:
                return False
            if self._bucket.create(self._line(len(found.lines)), raw_line(line)):
                self._replace_head((*found.lines, line), before=head)
                return True

    def _read(self) -> tuple[Found, Blob | None]:
        """The chain, and the version of the head that it was compared with."""
        with on_disk(self.path):
            make_folder(self.path.parent, mode=0o700)
            lock = FileLock(str(self.path) + ".lock").acquire()
        with lock:
            kept, size = self._kept()
            lines, head = kept, self._bucket.get(self._head)
            while True:
                lines, of_head = self._newer(lines, upto=self._count(head)), head
                if len(lines) == self._count(head) or (head := self._bucket.get(self._head)) == of_head:
                    break  # else lines were added in between: read on, until both are of one moment
            state = compared(lines, self._parsed(head), name=self._where, head_name="head.json")
            self._keep(lines[len(kept) :], at=size)
        return Found(lines=lines, head=state), head

    def _newer(self, known: tuple[RawLine, ...], *, upto: int) -> tuple[RawLine, ...]:
        """These lines and the newer ones, up to the first that is not there. The last one known has to be there."""
        first = max(0, len(known) - 1)
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
            raws = list(pool.map(self._raw, range(first, max(upto, len(known)) + 1)))
        if known and raws.pop(0) != raw_line(known[-1]):
            raise InputError(
                f"{self._where}: line {len(known)} is gone or another than the one that {self.path} has; {FIX}"
            )
        there = [raw for raw in takewhile(lambda raw: raw is not None, raws) if raw is not None]
        lines = verified(there, name=self._where, after=known)
        return lines if len(there) < len(raws) else self._newer(lines, upto=upto)

    def _raw(self, number: int) -> bytes | None:
        found = self._bucket.get(self._line(number))
        return None if found is None else found.raw

    def _replace_head(self, lines: tuple[RawLine, ...], *, before: Blob | None) -> None:
        """Have the head know of these lines; where another was faster, it knows of them or of more."""
        head = Head(lines=len(lines), hash=last_hash(lines))
        self._bucket.swap(self._head, head.model_dump_json().encode(), before=before)

    def _count(self, head: Blob | None) -> int:
        parsed = self._parsed(head)
        return 0 if parsed is None else parsed.lines

    def _parsed(self, head: Blob | None) -> Head | None:
        return None if head is None else read_head(head.raw, where=f"{self._where}/head.json", fix=FIX)

    def _kept(self) -> tuple[tuple[RawLine, ...], int]:
        """The lines of the copy, and their bytes. One that is damaged is as good as none: all are fetched again."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return (), 0
        except OSError as error:
            raise refusal(error, self.path, "read") from None
        whole = raw[: raw.rfind(b"\n") + 1]
        with suppress(InputError):
            return verified(whole.split(b"\n")[:-1], name=str(self.path)), len(whole)
        return (), 0

    def _keep(self, lines: tuple[RawLine, ...], *, at: int) -> None:
        if lines:
            with on_disk(self.path), self.path.open("ab") as file:
                file.truncate(at)
                file.write(b"".join(raw_line(line) + b"\n" for line in lines))

    @property
    def _head(self) -> str:
        return f"{self._name}/head.json"

    def _line(self, number: int) -> str:
        return f"{self._name}/{number:08d}.json"
