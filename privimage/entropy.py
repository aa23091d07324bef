"""Random generators for private noise, keyed by 128 bits from the operating system.

`torch.Generator().manual_seed(s)` on the CPU keeps only the low 32 bits of s: whoever knows a released model could
try all 2^32 noise streams. Here the whole state of the generator is filled from the entropy instead, by a one-way
function (SHAKE-256): the state of one stream, which can be computed from enough of its output, tells nothing of others.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

_HEADER, _WORDS = 24, 624  # bytes before the Mersenne Twister's words in torch's state; words in the state


def generator(entropy: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose; streams of the same entropy are independent.

    On a GPU the generator (Philox) takes 64 of the bits as its key.

    >>> a, b = generator(1 << 40, "noise"), generator(1 << 41, "noise")
    >>> bool((torch.randn(3, generator=a) == torch.randn(3, generator=b)).any())
    False
    """
    words = np.frombuffer(hashlib.shake_256(f"{entropy:x}/{stream}".encode()).digest(4 * _WORDS), np.uint32)
    made = torch.Generator(device)
    if made.device.type != "cpu":
        return made.manual_seed(int(words[:2].view(np.uint64)[0] >> np.uint64(1)))
    state = made.manual_seed(0).get_state().numpy().copy()  # a valid header: the next draw renews the words
    state[_HEADER : _HEADER + 8 * _WORDS] = words.astype(np.uint64).view(np.uint8)
    return made.set_state(torch.from_numpy(state))
