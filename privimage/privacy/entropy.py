"""Entropy: the 256 secret bits of one private access. Stream: the random numbers of one purpose, made from them.

    key    = SHAKE-256(entropy / name)                     a key of its own for every purpose
    words  = AES-256 in counter mode under that key        64 bits each, by the library `cryptography`
    u      = (63 bits + 1) / 2^63  in (0, 1]
    (x, y) = sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v)        two float64 normals (Box and Muller 1958)

Whoever knows part of a stream, however large, can tell nothing of the rest, nor of any other stream: that is what
AES is for. It is not so for the generators of torch and numpy, which are made for speed and for simulation: the state
of a Mersenne Twister follows from its output by linear algebra, and then all noise of an answer can be taken off it.
Every random number that an epsilon rests on comes from here: noise, Poisson batches, K draws, the trials of a
private selection.

Here all of it is numpy, on the CPU. Training makes its normals where its weights are (`privimage.dpsgd.normals`), of
the same words and with the same values up to rounding.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from privimage.errors import Violation

BYTES = 32  # of an Entropy, and of the key of a stream
BLOCK = 2**14  # words that are turned into normals together: the first half into radii, the second into angles
MASK = 2**63 - 1
_ZEROS = bytes(2**20)  # the cipher turns them into its stream; so short, because it may hold Python's lock meanwhile


@dataclass(frozen=True)
class Entropy:
    """256 secret bits. A type of its own: a seed, or any other public number, cannot be taken for it.

    >>> Entropy.fresh() == Entropy.fresh()
    False
    >>> Entropy.fresh()
    Entropy(secret)
    """

    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != BYTES:
            raise Violation(f"an entropy is {BYTES} secret bytes of the operating system; a seed is none")

    def __repr__(self) -> str:  # not even in a traceback
        return "Entropy(secret)"

    @staticmethod
    def fresh() -> Entropy:
        """New bits from the operating system."""
        return Entropy(secrets.token_bytes(BYTES))

    @property
    def mark(self) -> str:
        """64 hex digits that name these bits and tell nothing of them: what a ledger keeps of them."""
        return hashlib.sha256(b"mark" + self.raw).hexdigest()

    def stream(self, name: str) -> Stream:
        """The random numbers of the purpose `name`, from their start."""
        return Stream(hashlib.shake_256(self.raw + name.encode()).digest(BYTES))


class Stream:
    """Random numbers in the order in which they are asked for; made by `Entropy.stream`.

    >>> a, b = (Entropy(bytes(32)).stream(name) for name in ("a", "b"))
    >>> bool((a.normals(3) == b.normals(3)).any())
    False
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def fill(self, words: NDArray[np.int64]) -> None:
        """Random bits over all of `words` (contiguous)."""
        out = words.view(np.uint8).data
        for start in range(0, len(out), len(_ZEROS)):
            part = out[start : start + len(_ZEROS)]
            self._cipher.update_into(_ZEROS[: len(part)], part)

    def words(self, count: int) -> NDArray[np.int64]:
        """int64 [count], every bit random."""
        words = np.empty(count, np.int64)
        self.fill(words)
        return words

    def uniforms(self, *shape: int) -> NDArray[np.float64]:
        """float64, the multiples of 2^-53 in [0, 1), all alike."""
        words = self.words(math.prod(shape)).view(np.uint64)
        return np.asarray((words >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def normals(self, *shape: int) -> NDArray[np.float64]:
        """float64 standard normals."""
        count = math.prod(shape)
        return normals_of(self.words(count + count % 2))[:count].reshape(shape)


def normals_of(words: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 standard normals of an even number of random int64.

    u has 63 bits and not the 53 of a double's grid below 1, so the law ends at 9.3 standard deviations (8.6): the
    share of pairs that lie beyond is 1e-19 (1e-16), and a training run draws 1e11.
    """
    whole = len(words) // BLOCK * BLOCK
    parts = (words[:whole].reshape(-1, 2, BLOCK // 2), words[whole:].reshape(1, 2, -1))
    return np.concatenate([_pairs(part).ravel() for part in parts])


def _pairs(words: NDArray[np.int64]) -> NDArray[np.float64]:
    """[blocks, 2, pairs]: of (u, v) the normals (x, y)."""
    u, v = np.moveaxis((words & MASK).astype(np.float64), 1, 0)
    radius, angle = np.sqrt(-2 * np.log((u + 1) * 2.0**-63)), v * (2 * math.pi * 2.0**-63)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
