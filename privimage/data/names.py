"""Many names in one piece of memory: a Python string of each would take ten times as much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PackedNames:
    """Names by place: end to end as bytes of UTF-8, and where each of them ends."""

    raw: bytes
    ends: NDArray[np.int64]

    @staticmethod
    def of(names: Iterable[str]) -> PackedNames:
        """These, which may come one by one.

        >>> names = PackedNames.of(["a", "", "bé"])
        >>> len(names), names[0], names[2], names.take(np.array([2, 1]))[0]
        (3, 'a', 'bé', 'bé')
        """
        raw, ends = bytearray(), list[int]()
        for name in names:
            raw += name.encode("utf-8", "surrogateescape")  # as the names of files that are no UTF-8 come
            ends.append(len(raw))
        return PackedNames(raw=bytes(raw), ends=np.array(ends, np.int64))

    @staticmethod
    def joined(parts: Iterable[PackedNames]) -> PackedNames:
        """All of several, end to end."""
        raws, ends, at = list[bytes](), [np.empty(0, np.int64)], 0
        for part in parts:
            raws.append(part.raw)
            ends.append(part.ends + at)
            at += len(part.raw)
        return PackedNames(raw=b"".join(raws), ends=np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> str:
        start = int(self.ends[i - 1]) if i else 0
        return self.raw[start : int(self.ends[i])].decode("utf-8", "surrogateescape")

    def take(self, index: NDArray[np.int64]) -> PackedNames:
        """Those at these places."""
        return PackedNames.of(self[i] for i in index.tolist())
