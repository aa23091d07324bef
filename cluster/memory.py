"""Memory of a process that runs one trial after another."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return memory that was freed to the operating system (glibc keeps it: 250 MiB more a trial); else do nothing.

    Ray Tune runs every trial of a reused actor in a thread of its own, and glibc gives threads arenas of their own:
    what one trial freed is not used by the next one's thread.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library
        return
