"""Memory of a process that runs one trial after another.

Ray Tune runs every trial of a reused actor in a thread of its own. glibc gives threads arenas of their own, and keeps
what is freed in them: what one trial freed was not used by the next one's thread, 250 MiB more a trial.
"""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8  # of glibc's malloc.h


def share_arena() -> None:
    """Let all threads of this process that begin from now on share one arena; nothing with another C library."""
    _glibc("mallopt", M_ARENA_MAX, 1)


def give_back() -> None:
    """Return memory that was freed to the operating system; nothing with another C library."""
    _glibc("malloc_trim", 0)


def _glibc(name: str, *values: int) -> None:
    try:
        getattr(ctypes.CDLL(None), name)(*values)
    except (AttributeError, OSError, TypeError):  # another C library
        return
