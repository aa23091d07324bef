"""Ray in silence, for a while: failures are lines of ours, not its dump; afterwards a script has its own ways again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

SWITCHES = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would end the loop as if all were done
    "RAY_AIR_NEW_OUTPUT": "0",  # the sweep's own display shows instead
}
DEFAULTS = {"RAY_USAGE_STATS_ENABLED": "0"}  # where the environment does not say otherwise


@contextmanager
def quiet() -> Iterator[None]:
    """Ray and Ray Tune say nothing while this lasts; then these variables and the level of Ray's log are as before."""
    log = logging.getLogger("ray")
    level, before = log.level, {name: os.environ.get(name) for name in (*DEFAULTS, *SWITCHES)}
    os.environ |= {name: value for name, value in DEFAULTS.items() if name not in os.environ} | SWITCHES
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
