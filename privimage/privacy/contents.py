"""Contents: which images an id stands for. Fixed when the set is first asked; other images under it are refused.

A ledger adds up what was asked of one set of images, and an answer in the store is about one set of images. Both are
found by the id of the set, so the id has to mean the same images for ever. Beside the ledger, in `internal`, lies a
secret key and for every revision of the set a keyed digest (HMAC-SHA256) of its images, labels and class names: it
tells nobody anything, and any change is seen. What is public of it is the number of the revision.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from privimage.errors import InputError
from privimage.paths import Root
from privimage.privacy.chains import open_slot
from privimage.privacy.ledger import Ledger
from privimage.schema import Frozen

UNKNOWN = ""  # the digest of a revision whose file was lost: no images are known to be those
ADOPT = "privimage ledger adopt-data FILE.yaml"


class _Kept(Frozen):
    """What the file says: the key, the digest of every revision from 0, and a check of both."""

    key: str
    digests: tuple[str, ...]
    check: str

    @classmethod
    def of(cls, key: str, digests: tuple[str, ...]) -> _Kept:
        return cls(key=key, digests=digests, check=_check(key, digests))


class Contents:
    """The revisions of the sensitive set `id` under `root`. Safe for concurrent processes on one file system."""

    def __init__(self, root: Root, id: str) -> None:
        self.id, self.path = id, root.contents(id)
        self._ledger, self._slot = Ledger(root.ledger(id)), open_slot(self.path)

    @property
    def latest(self) -> int:
        """The number of the latest revision, 0 for a set that was never asked. Opens no images."""
        kept = self._read()
        return 0 if kept is None else len(kept.digests) - 1

    def revision(self, content: str, *, key: str = "data.sensitive") -> int:
        """Which revision these images are; 0 where the set was never asked. Writes nothing.

        Raises InputError, with the ways on, if they are others than those that the id stands for, or if that is not
        known any more.
        """
        return self._revision(self._read(), content, key=key)

    def _revision(self, kept: _Kept | None, content: str, *, key: str = "data.sensitive") -> int:
        charged = max((charge.revision for charge in self._ledger.charges()), default=None)
        if charged is None and kept is None:
            return 0
        if kept is None or len(kept.digests) <= (charged or 0):
            raise InputError(
                f"{self.path}: {'missing' if kept is None else 'older than the ledger'}, so nobody can tell whether "
                f"the images of {self.id} are those that were asked; restore it from a backup, or say so: {ADOPT} "
                "--same if they are, without it if they are not (everything is asked anew), or choose a new id"
            )
        found = self._find(kept, content)
        if found is None:
            raise InputError(
                f"{key}: its images are not those that {self.id} stood for when it was first asked; put them back, or "
                f"choose a new id (with a ledger of its own), or adopt them: {ADOPT} (everything is asked anew in the "
                "same ledger; for who is in both, the epsilons add)"
            )
        return found

    def fix(self, content: str) -> int:
        """As `revision`, and on disk before this returns: call it before the set is first asked."""
        found = 0

        def decide(raw: bytes | None) -> bytes | None:
            nonlocal found
            kept = self._parsed(raw)
            found = self._revision(kept, content)
            return None if kept is not None else _added(secrets.token_hex(32), (), content)

        self._slot.change(decide)
        return found

    def adopt(self, content: str, *, same: bool = False) -> int:
        """The revision that these images are from now on: a new one, unless they were known.

        `same` takes your word that they are those of the latest revision, where that cannot be told any more. Raises
        InputError if it can: then they are others.
        """
        found = 0

        def decide(raw: bytes | None) -> bytes | None:
            nonlocal found
            kept = self._parsed(raw)
            known = None if kept is None else self._find(kept, content)
            if known is not None:
                found = known
                return None
            before = self._before(kept, same=same)
            found = len(before)
            return _added(secrets.token_hex(32) if kept is None else kept.key, before, content)

        self._slot.change(decide)
        return found

    def _before(self, kept: _Kept | None, *, same: bool) -> tuple[str, ...]:
        """The digests of the revisions before one that is added."""
        count = max([charge.revision + 1 for charge in self._ledger.charges()], default=0)
        digests = () if kept is None else kept.digests
        digests += (UNKNOWN,) * (count - len(digests))
        if same and digests and digests[-1] == UNKNOWN:
            return digests[:-1]
        if same and digests:
            raise InputError(f"--same: the images are known to be others than those of revision {len(digests) - 1}")
        return digests

    def _find(self, kept: _Kept, content: str) -> int | None:
        own = _tag(kept.key, content)
        return next((i for i, known in enumerate(kept.digests) if hmac.compare_digest(known, own)), None)

    def _read(self) -> _Kept | None:
        return self._parsed(self._slot.read())

    def _parsed(self, raw: bytes | None) -> _Kept | None:
        if raw is None:
            return None
        try:
            kept = _Kept.model_validate_json(raw)
        except ValueError:
            kept = None
        if kept is None or kept.check != _check(kept.key, kept.digests) or not kept.digests:
            raise InputError(f"{self.path}: damaged; restore it from a backup")
        return kept


def _added(key: str, before: tuple[str, ...], content: str) -> bytes:
    """What the file says with one revision more."""
    return _Kept.of(key, (*before, _tag(key, content))).model_dump_json().encode()


def _tag(key: str, content: str) -> str:
    return hmac.digest(bytes.fromhex(key), content.encode(), "sha256").hex()


def _check(key: str, digests: tuple[str, ...]) -> str:
    return hashlib.sha256(repr((key, digests)).encode()).hexdigest()[:16]
