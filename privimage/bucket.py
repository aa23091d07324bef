"""A bucket: bytes by name in S3, Google Cloud Storage or Azure, through `obstore` (the extra `privimage[bucket]`).

Credentials, region and endpoint are those of the environment, as obstore reads them (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, ..). A server that fails for a moment is
asked again. Whatever remains wrong is an InputError of one line.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privimage.errors import InputError

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

SCHEMES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}  # and what the variables of each begin with
CONNECT_SECONDS, SILENT_SECONDS = 3, 20
FIRST_SECONDS, PATIENCE_SECONDS = 5, 60  # how long a server that fails is asked again: at the start, and later
WHY = {  # the first of these patterns that the message of obstore has
    r"169\.254\.169\.254|metadata|CredentialsProviderError": "no credentials were found; set those of {variables}_..",
    r"NoSuchBucket|ContainerNotFound|bucket does not exist": "there is no such bucket; make it once, or mend the name",
    r"Account must be specified": "no account is known; set AZURE_STORAGE_ACCOUNT_NAME",
    r"\b40[13]\b|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch": "the credentials are refused; mend those of "
    "{variables}_.., or have the bucket opened to them",
    r"builder error": "plain http is used only where {variables}_ALLOW_HTTP=true is set; give an https endpoint, or "
    "set it",
    r"error sending request|timed out|connect": "it cannot be reached; see that the endpoint is right and the network "
    "is there, and run the same command again",
}


@dataclass(frozen=True, kw_only=True)
class Blob:
    """What a name holds: its bytes, and the mark of this version of them."""

    raw: bytes
    version: UpdateVersion


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Bytes by name below a URL: parts with slashes between, none empty. Whoever reads sees all of a write or nothing.

    Every method raises InputError, naming the URL, if the bucket cannot be used.
    """

    url: str
    store: ObjectStore

    @classmethod
    def open(cls, url: str) -> Bucket:
        """The bucket at a URL, asked once a process whether it is there. Raises InputError within seconds if not."""
        return _opened(without_slash(url))

    def get(self, name: str) -> Blob | None:
        """What was put there last, or None."""
        import obstore

        with self._asked():
            try:
                found = obstore.get(self.store, name)
                return Blob(raw=bytes(found.bytes()), version=_version(found.meta))
            except FileNotFoundError as error:
                if re.search("NoSuchBucket|ContainerNotFound", str(error)):
                    raise
                return None

    def put(self, name: str, raw: bytes) -> None:
        """Put it there, in place of what was."""
        import obstore

        with self._asked():
            obstore.put(self.store, name, raw)

    def create(self, name: str, raw: bytes) -> bool:
        """Whether it was put there: only if nothing is. Of several at once, exactly one is told so.

        False may also be told to the one that did it, if the server failed on the way to say so.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._asked():
            try:
                obstore.put(self.store, name, raw, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def swap(self, name: str, raw: bytes, *, before: Blob | None) -> bool:
        """Whether it was put in place of that version, or of nothing: only if that is still what is there.

        False may also be told to the one that did it, as by `create`.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        if before is None:
            return self.create(name, raw)
        with self._asked():
            try:
                obstore.put(self.store, name, raw, mode=before.version, use_multipart=False)
            except (PreconditionError, FileNotFoundError):
                return False
        return True

    def delete(self, name: str) -> None:
        """Remove it, if it is there."""
        import obstore

        with self._asked():
            try:
                obstore.delete(self.store, name)
            except FileNotFoundError:
                return

    def names(self, folder: str = "") -> Iterator[str]:
        """The names below a folder, sorted."""
        import obstore

        with self._asked():
            found = [
                entry["path"] for page in obstore.list(self.store, folder or None, chunk_size=1000) for entry in page
            ]
        yield from sorted(found)

    def check_conditions(self) -> None:
        """Raise InputError unless the server does what `create` and `swap` rely on: some take no notice of it."""
        name = f".probe/{secrets.token_hex(8)}"
        try:
            made, again = self.create(name, b"1"), self.create(name, b"2")
            first = self.get(name)
            swapped, stale = self.swap(name, b"3", before=first), self.swap(name, b"4", before=first)
        finally:
            self.delete(name)
        if (made, again, swapped, stale) != (True, False, True, False):
            raise InputError(
                f"{self.url}: takes no notice of conditions on a write (If-None-Match, If-Match), so two writers could "
                "overwrite each other; use a bucket of a server that does"
            )

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Turn what obstore raises into one line."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise refused(self.url, error) from None


@lru_cache(maxsize=64)
def conditions_hold(url: str) -> None:
    """See Bucket.check_conditions: asked once a process."""
    Bucket.open(url).check_conditions()


def without_slash(url: str) -> str:
    """The URL without slashes at its end, but for those of its scheme."""
    scheme, mark, rest = url.partition("://")
    return scheme + mark + rest.rstrip("/")


def is_bucket(address: str | Path) -> bool:
    """Whether this is the URL of a bucket, by its scheme; a path never is, for pathlib makes s3:/bucket of one."""
    scheme, mark, _ = str(address).partition("://")
    return bool(mark) and scheme in SCHEMES


def refused(url: str, error: Exception) -> InputError:
    """What obstore said of a bucket, as one line with what mends it."""
    said = str(error).partition("\n")[0]
    found = next((why for pattern, why in WHY.items() if re.search(pattern, str(error))), None)
    variables = SCHEMES.get(url.partition("://")[0], "")
    return InputError(
        f"{url}: {f'cannot be used ({said[:300]})' if found is None else found.format(variables=variables)}"
    )


@lru_cache(maxsize=64)
def _opened(url: str) -> Bucket:
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._=@+,-]+)*", rest):
        schemes = ", ".join(f"{known}://" for known in SCHEMES)
        raise InputError(f"{url}: is no bucket; expected one of {schemes} and its name, e.g. s3://bucket/folder")
    if find_spec("obstore") is None:
        raise InputError(f"{url}: a bucket needs the package obstore; pip install 'privimage[bucket]'")
    first = Bucket(url=url, store=_store(url, patience=FIRST_SECONDS))
    list(first.names(".probe"))
    return Bucket(url=url, store=_store(url, patience=PATIENCE_SECONDS))


def _store(url: str, *, patience: int) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    variables = SCHEMES[url.partition("://")[0]]
    plain = os.environ.get(f"{variables}_ALLOW_HTTP", "").lower() in ("1", "true")  # what is given here replaces it
    backoff = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=4), "base": 2}
    settings: dict[str, Any] = {
        "client_options": {
            "allow_http": plain,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=SILENT_SECONDS if patience > FIRST_SECONDS else FIRST_SECONDS),
            "timeout": timedelta(hours=1) if patience > FIRST_SECONDS else timedelta(seconds=FIRST_SECONDS),
        },
        "retry_config": {"backoff": backoff, "max_retries": 100, "retry_timeout": timedelta(seconds=patience)},
    }
    try:
        return from_url(url, **settings)
    except (BaseError, ValueError) as error:
        raise refused(url, error) from None


def _version(meta: Any) -> UpdateVersion:
    """The mark of a version: S3 and Azure tell versions apart by the tag, Google by a number."""
    return {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}  # type: ignore[return-value]
