"""privimage: differentially private synthetic images, with the whole privacy bill.

What lies here is the science: data, semantics, diffusion, DP-SGD, accounting. It never imports ray;
``privimage.cluster`` does, ``privimage.sweeps`` drives it, ``privimage.analysis`` reads what was recorded. These three
are folders beside this one, and links in it: their own names may belong to others where this is installed.

For scripts and notebooks it also offers the five names of docs/python.md, each loaded when it is first used, so that
to import one module of the science still loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privimage.analysis.results import Run
    from privimage.analysis.synthesise import Bundle
    from privimage.sweeps.api import plan, run
    from privimage.sweeps.sweep import Sweep

__version__ = "0.1.0"
__all__ = ["Bundle", "Run", "Sweep", "plan", "run"]
_MODULES = {
    "Bundle": "privimage.analysis.synthesise",
    "Run": "privimage.analysis.results",
    "Sweep": "privimage.sweeps.sweep",
    "plan": "privimage.sweeps.api",
    "run": "privimage.sweeps.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
