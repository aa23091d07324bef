"""A bucket as a shelf: s3://bucket/folder, gs://bucket/folder, az://container/folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

from privimage.bucket import Bucket
from privimage.stores.shelf import Shelf


class BucketShelf(Shelf):
    """The objects below a URL."""

    what: ClassVar[str] = "a bucket"

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @classmethod
    def open(cls, address: str) -> Self:
        """See Shelf."""
        return cls(Bucket.open(address))

    def get(self, name: str) -> bytes | None:
        """See Shelf."""
        found = self._bucket.get(name)
        return None if found is None else found.raw

    def put(self, name: str, raw: bytes) -> None:
        """See Shelf."""
        self._bucket.put(name, raw)

    def find(self, prefix: str) -> Iterator[str]:
        """See Shelf."""
        names = self._bucket.names(prefix.rpartition("/")[0])
        yield from (name for name in names if name.startswith(prefix) and name.count("/") == 2)


class S3Shelf(BucketShelf):
    """The objects below a URL of S3, or of a server that speaks like it."""

    what: ClassVar[str] = "a bucket of S3, or of a server that speaks like it: s3://bucket/folder"


class GoogleShelf(BucketShelf):
    """The objects below a URL of Google Cloud Storage."""

    what: ClassVar[str] = "a bucket of Google Cloud Storage: gs://bucket/folder"


class AzureShelf(BucketShelf):
    """The objects below a URL of Azure Blob Storage."""

    what: ClassVar[str] = "a container of Azure Blob Storage: az://container/folder"


MEMBERS = {"s3": S3Shelf, "gs": GoogleShelf, "az": AzureShelf}
