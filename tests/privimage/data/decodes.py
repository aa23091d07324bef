"""A process that loads a folder of images as a large sensitive set. Not a test module.

python decodes.py FOLDER PLACE [KILLED_AFTER]      prints how many blocks it decoded, and the content of the set
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from privimage.data import SensitiveConfig, load_sensitive
from privimage.data import decode as decoding
from privimage.data.sources import source

real, done = decoding.decode_block, list[int]()


def slow(block: decoding.DecodeBlock) -> tuple[int, bytes]:
    """As it is, and dead after so many."""
    if len(sys.argv) > 3 and len(done) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(block.start)
    time.sleep(0.02)
    return real(block)


if __name__ == "__main__":
    source.LARGE, decoding.BLOCK_BYTES, decoding.decode_block = 1000, 2000, slow
    values = {"name": "folder", "root": sys.argv[1], "id": "faces", "channels": 1, "validation": 0.3, "test": 0.3}
    data = load_sensitive(SensitiveConfig.model_validate(values), place=Path(sys.argv[2]))
    print(len(done), data.content)
